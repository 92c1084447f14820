# The single definition of our packages: flake outputs, checks, shell and module all read it.
final: prev: {
  pythonPackagesExtensions = prev.pythonPackagesExtensions ++ [
    (pyFinal: _pyPrev: {
      runpod-client = pyFinal.callPackage ./runpod-client/package.nix { };
      runpod-ssh = pyFinal.callPackage ./runpod-ssh/package.nix { };
      runner-installer = pyFinal.callPackage ./runner-installer/package.nix { };
      runpod-hub = pyFinal.callPackage ./runpod-hub/package.nix { };
      runpod-sim = pyFinal.callPackage ./runpod-sim/package.nix { };
    })
  ];

  runpod-client = final.python3Packages.toPythonApplication final.python3Packages.runpod-client;
  runpod-ssh = final.python3Packages.toPythonApplication final.python3Packages.runpod-ssh;
  runner-installer = final.python3Packages.toPythonApplication final.python3Packages.runner-installer;
  runpod-hub = final.python3Packages.toPythonApplication final.python3Packages.runpod-hub;
  runpod-sim = final.python3Packages.toPythonApplication final.python3Packages.runpod-sim;

  # The hub's demo starts the simulator as a program: the two meet on the wire only.
  runpod-demo = final.writeShellApplication {
    name = "runpod-demo";
    runtimeInputs = [
      final.runpod-client
      final.runpod-ssh
      final.runner-installer
      final.runpod-hub
      final.runpod-sim
    ];
    text = ''exec runpod-hub demo "$@"'';
    meta.description = "The whole job against a simulated RunPod; costs nothing";
  };
}
