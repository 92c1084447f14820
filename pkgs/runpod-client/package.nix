{
  lib,
  buildPythonPackage,
  bcrypt,
  click,
  cryptography,
  hatchling,
  msgspec,
  platformdirs,
  pybreaker,
  requests,
  rich,
  stamina,
  structlog,
}:

buildPythonPackage {
  pname = "runpod-client";
  version = (lib.importTOML ./pyproject.toml).project.version;
  pyproject = true;

  src = lib.fileset.toSource {
    root = ./.;
    fileset = lib.fileset.unions [
      ./pyproject.toml
      ./README.md
      ./src
    ];
  };

  build-system = [ hatchling ];
  dependencies = [
    bcrypt
    click
    cryptography
    msgspec
    platformdirs
    pybreaker
    requests
    rich
    stamina
    structlog
  ];

  # the suite needs all five packages: see checks.pytest in flake.nix
  doCheck = false;
  pythonImportsCheck = [ "runpod_client" ];

  meta = {
    description = "Rent, resume, stop and terminate RunPod pods, each exactly once";
    license = lib.licenses.mit;
    mainProgram = "runpod-client";
  };
}
