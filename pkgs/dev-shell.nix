# Everything a contributor needs; `nix fmt` brings the formatter for Nix by itself.
{ pkgs }:
pkgs.mkShell {
  packages = [
    (import ./test-python.nix { inherit pkgs; })
    pkgs.bash
    pkgs.coreutils
    pkgs.git
    pkgs.jq
    pkgs.nss_wrapper
    pkgs.openssh
    pkgs.procps
    pkgs.rsync
    pkgs.shellcheck
    pkgs.tmux
  ];
  shellHook = ''
    export RUNPOD_SIM_NSS_WRAPPER=${pkgs.nss_wrapper}/lib/libnss_wrapper.so
    # the working tree's sources win over the packages of the shell
    for src in "$PWD"/pkgs/*/src; do
      [ -d "$src" ] && export PYTHONPATH="$src''${PYTHONPATH:+:$PYTHONPATH}"
    done
  '';
}
