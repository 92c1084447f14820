{
  lib,
  buildPythonPackage,
  click,
  cryptography,
  hatchling,
  msgspec,
  platformdirs,
  pyjwt,
  pyyaml,
  requests,
  rich,
  runpod-client,
  runpod-ssh,
  stamina,
  starlette,
  structlog,
  uvicorn,
}:

buildPythonPackage {
  pname = "runner-installer";
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
    click
    cryptography
    msgspec
    platformdirs
    pyjwt
    pyyaml
    requests
    rich
    runpod-client
    runpod-ssh
    stamina
    starlette
    structlog
    uvicorn
  ];

  # the suite needs all five packages: see checks.pytest in flake.nix
  doCheck = false;
  pythonImportsCheck = [ "runner_installer" ];

  meta = {
    description = "Make a RunPod pod a GitHub Actions runner, and clean up after it";
    license = lib.licenses.mit;
    mainProgram = "runner-installer";
  };
}
