{
  lib,
  buildPythonPackage,
  aiosqlite,
  alembic,
  click,
  fastapi,
  hatchling,
  msgspec,
  nicegui,
  pydantic,
  python-multipart,
  rich,
  runner-installer,
  runpod-client,
  runpod-ssh,
  sqlalchemy,
  starlette,
  structlog,
  uvicorn,
}:

buildPythonPackage {
  pname = "runpod-hub";
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
    aiosqlite
    alembic
    click
    fastapi
    msgspec
    nicegui
    pydantic
    python-multipart
    rich
    runner-installer
    runpod-client
    runpod-ssh
    sqlalchemy
    starlette
    structlog
    uvicorn
  ];

  # the suite needs all five packages: see checks.pytest in flake.nix
  doCheck = false;
  pythonImportsCheck = [ "runpod_hub" ];

  meta = {
    description = "The always-on service that knows every pod, agent and dollar";
    license = lib.licenses.mit;
    mainProgram = "runpod-hub";
  };
}
