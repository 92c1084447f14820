{
  description = "GPU pods on RunPod: client, SSH, GitHub runners, an always-on hub, and a local RunPod to try it all on";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      eachSystem =
        f: lib.genAttrs systems (system: f (nixpkgs.legacyPackages.${system}.extend self.overlays.default));
    in
    {
      overlays.default = import ./pkgs/overlay.nix;

      packages = eachSystem (pkgs: {
        inherit (pkgs)
          runpod-client
          runpod-ssh
          runner-installer
          runpod-hub
          runpod-sim
          runpod-demo
          ;
        default = pkgs.runpod-client;
      });

      apps = eachSystem (
        pkgs:
        lib.genAttrs [ "runpod-client" "runpod-ssh" "runner-installer" "runpod-hub" "runpod-sim" ] (name: {
          type = "app";
          program = lib.getExe pkgs.${name};
          meta = { inherit (pkgs.${name}.meta) description; };
        })
        // {
          demo = {
            type = "app";
            program = lib.getExe pkgs.runpod-demo;
            meta.description = "The whole job against a simulated RunPod; costs nothing";
          };
        }
      );

      checks = eachSystem (pkgs: import ./tests/checks.nix { inherit lib pkgs self; });

      devShells = eachSystem (pkgs: {
        default = import ./pkgs/dev-shell.nix { inherit pkgs; };
      });

      formatter = eachSystem (
        pkgs:
        pkgs.writeShellApplication {
          name = "fmt";
          runtimeInputs = [
            pkgs.nixfmt
            pkgs.ruff
            pkgs.findutils
          ];
          text = ''exec ./scripts/fmt "$@"'';
        }
      );

      nixosModules.default = self.nixosModules.runpod-hub;
      nixosModules.runpod-hub = {
        imports = [ ./modules/runpod-hub.nix ];
        nixpkgs.overlays = [ self.overlays.default ];
      };
    };
}
