// Jenkins' pipeline steps, as far as the shared library uses them, around a real Groovy: each `sh` runs for real.
//
//   groovy jenkins.groovy LIBRARY PIPELINE   PIPELINE: a Groovy file that uses the library's steps
//
// Exit status: 0 when the pipeline succeeded, 1 when it failed; what failed is printed. A file named by ABORT_ON is
// watched: once it exists the running `sh` gets SIGTERM, as an aborted build's does, and the pipeline is interrupted.

class Abort extends RuntimeException {
  Abort(String message) { super(message) }
}

class Steps {
  File library
  Map<String, String> env
  Map<String, Script> steps = [:]
  List<String> ran = []

  def sh(String script) { sh(script: script) }

  def sh(Map options) {
    ran << (options.label ?: 'sh')
    File file = File.createTempFile('step', '.sh')
    file.text = options.script
    // Jenkins: a script with a first line #! is run by that, any other by sh -xe
    List command = options.script.startsWith('#!') ? [options.script.readLines()[0].substring(2).trim()] : ['sh', '-xe']
    ProcessBuilder builder = new ProcessBuilder(command + [file.path])
    builder.environment().clear()
    builder.environment().putAll(env)
    builder.redirectError(ProcessBuilder.Redirect.INHERIT)
    if (!options.returnStdout) { builder.redirectOutput(ProcessBuilder.Redirect.INHERIT) }
    Process process = builder.start()
    process.outputStream.close()
    boolean aborted = watch(process)
    String output = options.returnStdout ? process.inputStream.text : ''
    int status = process.waitFor()
    file.delete()
    if (aborted) { throw new Abort('the build was aborted') }
    if (options.returnStatus) { return status }
    if (status != 0) { throw new RuntimeException("script returned exit code ${status}") }
    return options.returnStdout ? output : null
  }

  private boolean watch(Process process) {
    File flag = env.ABORT_ON ? new File(env.ABORT_ON) : null
    while (flag != null && process.isAlive()) {
      if (flag.exists()) {
        flag.delete()
        process.destroy()
        return true
      }
      Thread.sleep(20)
    }
    return false
  }

  def withEnv(List variables, Closure body) {
    Map before = new HashMap(env)
    variables.each { String row -> env[row.substring(0, row.indexOf('='))] = row.substring(row.indexOf('=') + 1) }
    try { return body() } finally { env.clear(); env.putAll(before) }
  }

  def withCredentials(List bindings, Closure body) {
    return withEnv(bindings.collect { "${it.variable}=${env['SECRET_' + it.credentialsId.replace('-', '_')]}".toString() }, body)
  }

  def string(Map options) { options }
  def error(String message) { throw new RuntimeException(message) }
  def echo(String message) { println message }
  String libraryResource(String name) { new File(library, "resources/${name}").text }

  def invoke(String name, Object arguments) {
    Script step = steps[name]
    if (step == null) { throw new MissingMethodException(name, Steps, arguments as Object[]) }
    return step.call(*arguments)
  }
}

class Base extends Script {
  Steps steps
  def getEnv() { steps.env }
  def run() { null }
  def methodMissing(String name, Object arguments) {
    if (steps.respondsTo(name, arguments as Object[])) { return steps.invokeMethod(name, arguments) }
    return steps.invoke(name, arguments)
  }
}

def library = new File(args[0])
def steps = new Steps(library: library, env: new HashMap(System.getenv()))
def loader = new GroovyClassLoader(this.class.classLoader)
loader.parseClass('package com.cloudbees.groovy.cps\n@interface NonCPS {}')
def configuration = new org.codehaus.groovy.control.CompilerConfiguration()
configuration.scriptBaseClass = Base.name
def shell = new GroovyShell(loader, new Binding(), configuration)
new File(library, 'vars').eachFileMatch(~/.*\.groovy/) { file ->
  def script = shell.parse(file)
  script.setSteps(steps)
  steps.steps[file.name - '.groovy'] = script
}
int status = 0
try {
  def pipeline = shell.parse(new File(args[1]))
  pipeline.setSteps(steps)
  pipeline.run()
} catch (Exception error) {
  println "FAILED: ${error.message}"
  status = 1
}
println "STEPS: ${steps.ran.join(' | ')}"
System.exit(status)
