// Run a command on the pod of the surrounding gpuPod: gpuPodSh 'nvidia-smi'
//
// It takes what the step `sh` takes (returnStatus, returnStdout, label) and returns what that returns; the exit status
// is the command's own, and 255 where the pod could not be reached or was lost. The command has no input and, like a
// step `sh`, ends at its first failing line. Inside the surrounding gpuPod only.

def call(String command) {
  return call(script: command)
}

def call(Map options) {
  if (!env.GPU_POD) {
    error 'gpuPodSh: there is no gpuPod around it'
  }
  String command = "${options.script}"
  Map others = options.findAll { key, _ -> key != 'script' }
  return withEnv(["GPU_POD_COMMAND=${command}".toString()]) {
    sh([label: "on the pod: ${command.readLines().find() ?: ''}".toString()] + others + [script: libraryResource('gpu-pod-sh.sh')])
  }
}
