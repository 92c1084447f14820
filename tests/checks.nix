# What `nix flake check` builds: every package, the shell, the suite in the sandbox, lint, the module's unit, the VM test.
{
  lib,
  pkgs,
  self,
}:
let
  inherit (pkgs.stdenv.hostPlatform) system;
  source = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../.github
      ../CHANGELOG.md
      ../CONTRIBUTING.md
      ../README.md
      ../docs
      ../integrations
      ../modules
      ../pkgs
      ../pyproject.toml
      ../requirements.lock
      ../scripts
      ../tests
    ];
  };
  testPython = import ../pkgs/test-python.nix { inherit pkgs; };
  # a copy that can be written to: pytest, mypy and ruff keep caches beside the sources
  inSource =
    name: tools: script:
    pkgs.runCommand name { nativeBuildInputs = [ testPython ] ++ tools; } ''
      cp -r ${source} source
      chmod -R u+w source
      cd source
      export HOME=$TMPDIR/home
      mkdir -p "$HOME"
      ${script}
      touch $out
    '';
  host = lib.nixosSystem {
    inherit system;
    modules = [
      self.nixosModules.default
      ./nixos/host.nix
    ];
  };
  # of util-linux the tests' pods need this program alone
  setsid = pkgs.writeScriptBin "setsid" ''
    #!${lib.getExe pkgs.python3}
    import os, sys
    if os.getpgrp() == os.getpid() and os.fork():
        os._exit(0)
    os.setsid()
    os.execvp(sys.argv[1], sys.argv[1:])
  '';
  # a package set may lack one of these: then the tests that carry its mark are left out
  extras = builtins.intersectAttrs {
    busybox = null;
    softhsm = null;
  } pkgs;
  without = lib.concatMapStrings (name: " and not ${name}") (
    lib.subtractLists (lib.attrNames extras) [
      "busybox"
      "softhsm"
    ]
  );
  # this one program of busybox's: the others' names are coreutils' too
  extraTools =
    lib.optional (extras ? busybox) (
      pkgs.runCommand "busybox-alone" { } "mkdir -p $out/bin; ln -s ${lib.getExe pkgs.busybox} $out/bin/"
    )
    ++ lib.optional (extras ? softhsm) pkgs.softhsm;
in
lib.mapAttrs' (name: lib.nameValuePair "package-${name}") (removeAttrs self.packages.${system} [ "default" ])
// {
  devShell-default = self.devShells.${system}.default;

  pytest = inSource "check-pytest" (extraTools ++ [
    pkgs.bash
    pkgs.coreutils
    pkgs.gnutar
    pkgs.gzip
    pkgs.openssh
    pkgs.procps
    pkgs.rsync
    pkgs.tmux
    setsid
  ]) ''
    ${lib.optionalString (
      extras ? softhsm
    ) "export RUNPOD_TEST_SOFTHSM=${pkgs.softhsm}/lib/softhsm/libsofthsm2.so"}
    export RUNPOD_SIM_NSS_WRAPPER=${pkgs.nss_wrapper}/lib/libnss_wrapper.so
    export LANG=C.UTF-8
    patchShebangs scripts
    python -m pytest -q -p no:cacheprovider -n "$((''${NIX_BUILD_CORES:-2} + 1))" -m "not sdk and not unwrapped and not heavy${without}"
  '';

  lint = inSource "check-lint" [
    pkgs.bash
    pkgs.shellcheck
  ] ''
    ruff format --diff .
    ruff check .
    python -m mypy pkgs/*/src tests
    bash scripts/lint-shell
  '';

  unit = pkgs.runCommand "check-unit" {
    nativeBuildInputs = [ pkgs.systemd ];
    unit = host.config.systemd.units."runpod-hub.service".text;
    passAsFile = [ "unit" ];
  } ''
    cp "$unitPath" runpod-hub.service
    # the user manager: a build sandbox has no /run for the system one
    export XDG_RUNTIME_DIR=$(mktemp -d) SYSTEMD_LOG_COLOR=0 SYSTEMD_COLORS=0
    systemd-analyze verify --user --man=no --recursive-errors=no ./runpod-hub.service
    systemd-analyze security --user --offline=true --threshold=15 --no-pager ./runpod-hub.service | tail -1
    cp runpod-hub.service $out
  '';

  vm-hub = pkgs.testers.runNixOSTest (import ./nixos/hub.nix { inherit self; });
}
