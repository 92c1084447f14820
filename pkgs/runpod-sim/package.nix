{
  lib,
  buildPythonPackage,
  asyncssh,
  bash,
  click,
  coreutils,
  cryptography,
  findutils,
  gnugrep,
  gnused,
  gnutar,
  graphql-core,
  gzip,
  hatchling,
  jsonschema,
  nss_wrapper,
  openssh,
  procps,
  python3,
  starlette,
  structlog,
  uvicorn,
}:

buildPythonPackage {
  pname = "runpod-sim";
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
    asyncssh
    click
    cryptography
    graphql-core
    jsonschema
    starlette
    structlog
    uvicorn
  ];

  # a simulated pod is a real sshd in a directory, and its programs are these
  makeWrapperArgs = [
    "--suffix PATH : ${
      lib.makeBinPath [
        bash
        coreutils
        findutils
        gnugrep
        gnused
        gnutar
        gzip
        openssh
        procps
        python3
      ]
    }"
    "--set-default RUNPOD_SIM_NSS_WRAPPER ${nss_wrapper}/lib/libnss_wrapper.so"
  ];

  # the suite needs all five packages: see checks.pytest in flake.nix
  doCheck = false;
  pythonImportsCheck = [ "runpod_sim" ];

  meta = {
    description = "A local RunPod and GitHub to run and test against without an account";
    license = lib.licenses.mit;
    mainProgram = "runpod-sim";
  };
}
