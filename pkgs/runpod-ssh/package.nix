{
  lib,
  buildPythonPackage,
  asyncssh,
  click,
  hatchling,
  python-pkcs11,
  rich,
  runpod-client,
  structlog,
}:

buildPythonPackage {
  pname = "runpod-ssh";
  version = (lib.importTOML ./pyproject.toml).project.version;
  pyproject = true;

  src = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.unions [
      ./pyproject.toml
      ./README.md
      ./bin
      ./src
    ];
  };

  build-system = [ hatchling ];
  dependencies = [
    asyncssh
    click
    python-pkcs11
    rich
    runpod-client
    structlog
  ];

  # the suite needs all five packages: see checks.pytest in flake.nix
  doCheck = false;
  pythonImportsCheck = [ "runpod_ssh" ];

  meta = {
    description = "Run commands and move files on RunPod pods over SSH with pinned host keys";
    license = lib.licenses.mit;
    mainProgram = "runpod-ssh";
  };
}
