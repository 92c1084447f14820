import com.cloudbees.groovy.cps.NonCPS

// Rent a GPU pod on RunPod, run the body, and end the pod whatever became of the body.
//
//   gpuPod(gpu: 'RTX 4090', maxPrice: '0.80') {
//     gpuPodSh 'python train.py'
//   }
//
// This costs money from its start to its end, or at the latest until the lease is over. A command that fails fails the
// build with its own exit status; an aborted build ends the command and then the pod.
//
// Options: maxPrice (required, USD per hour), gpu (a name or a list), gpuCount, minMemory (GB), spot, image,
// lease ('4h'), timeout (900, seconds until SSH answers), name ('gpu'; give each of several pods of a build another
// one), credentialsId ('runpod-api-key', a secret text).
//
// No option becomes part of a shell script: they travel as variables.

def call(Map options = [:], Closure body) {
  if (!options.maxPrice) {
    error 'gpuPod: say maxPrice, the most the pod may cost in USD per hour'
  }
  String name = "${options.name ?: 'gpu'}"
  String id = runId("${env.JOB_NAME}", "${env.BUILD_NUMBER}")
  List gpus = options.gpu instanceof List ? options.gpu : [options.gpu ?: '']
  List variables = [
    "GPU_POD=${name}-${id}-1-1",
    "GPU_POD_RUN=jenkins/${slug("${env.JOB_NAME}")}/${id}/1",
    "GPU_POD_NAME=${name}",
    "GPU_POD_GPU=${gpus.join('\n')}",
    "GPU_POD_GPU_COUNT=${options.gpuCount ?: 1}",
    "GPU_POD_MIN_MEMORY=${options.minMemory ?: ''}",
    "GPU_POD_MAX_PRICE=${options.maxPrice}",
    "GPU_POD_SPOT=${options.spot ? 'true' : ''}",
    "GPU_POD_IMAGE=${options.image ?: ''}",
    "GPU_POD_LEASE=${options.lease ?: '4h'}",
    "GPU_POD_TIMEOUT=${options.timeout ?: 900}",
  ]
  withCredentials([string(credentialsId: options.credentialsId ?: 'runpod-api-key', variable: 'RUNPOD_API_KEY')]) {
    withEnv(variables.collect { "${it}".toString() }) {
      try {
        sh(label: 'rent a GPU pod', script: libraryResource('gpu-pod-up.sh'))
        body()
      } finally {
        sh(label: 'end the GPU pod', script: libraryResource('gpu-pod-down.sh'))
      }
    }
  }
}

// one number for a build of a job: build numbers alone repeat from job to job
@NonCPS
static String runId(String jobName, String buildNumber) {
  return "${Math.abs(jobName.hashCode() % 1000000)}${buildNumber.padLeft(6, '0')}"
}

// a job's name as one part of a run's: folders and odd letters become dashes
@NonCPS
static String slug(String jobName) {
  String text = jobName.replaceAll('[^A-Za-z0-9._-]+', '-')
  return text.length() > 90 ? text.substring(text.length() - 90) : text
}
