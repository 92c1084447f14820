# services.runpod-hub: the hub as a hardened service. Secrets are files that systemd hands over; none enters the store.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib)
    literalExpression
    mkEnableOption
    mkIf
    mkOption
    mkPackageOption
    types
    ;
  cfg = config.services.runpod-hub;
  format = pkgs.formats.toml { };
  configFile = format.generate "runpod-hub.toml" cfg.settings;
  # a setting that the hub does not know fails the build of the system, not the start of the service
  checkedConfigFile =
    pkgs.runCommand "checked-runpod-hub.toml"
      {
        nativeBuildInputs = [ cfg.package ];
      }
      ''
        export HOME=$TMPDIR RUNPOD_STATE_DIR=$TMPDIR
        runpod-hub check-config --config ${configFile} >/dev/null
        cp ${configFile} $out
      '';
  isLoopback = lib.elem cfg.settings.hub.host [
    "127.0.0.1"
    "::1"
    "localhost"
  ];
in
{
  options.services.runpod-hub = {
    enable = mkEnableOption "the RunPod hub, which watches pods, agents and costs";

    package = mkPackageOption pkgs "runpod-hub" { };

    settings = mkOption {
      description = ''
        The hub's configuration file; see docs/configuration.md for every setting. A setting that the
        hub does not know is an error when the system is built.
      '';
      default = { };
      example = literalExpression "{ hub.interval_seconds = 30; }";
      type = types.submodule {
        freeformType = format.type;
        options.hub = mkOption {
          description = "Settings of the hub itself.";
          default = { };
          type = types.submodule {
            freeformType = format.type;
            options.host = mkOption {
              type = types.str;
              default = "127.0.0.1";
              description = "Address to listen on.";
            };
            options.port = mkOption {
              type = types.port;
              default = 8400;
              description = "Port to listen on.";
            };
          };
        };
      };
    };

    credentials = mkOption {
      description = ''
        Secret files by name: `runpod-api-key` (needed), `runpod-hub-token` (made by the hub when absent),
        `github-token`. systemd hands them to the service; only paths outside the Nix store are taken.
      '';
      type = types.attrsOf (
        types.pathWith {
          inStore = false;
          absolute = true;
        }
      );
      default = { };
      example = {
        runpod-api-key = "/run/secrets/runpod-api-key";
      };
    };

    openFirewall = mkEnableOption "opening the hub's port in the firewall";
  };

  config = mkIf cfg.enable {
    assertions = [
      {
        assertion = cfg.credentials ? runpod-api-key;
        message = ''services.runpod-hub: name the file that holds the RunPod API key: credentials.runpod-api-key = "/run/secrets/runpod-api-key";'';
      }
      {
        assertion = cfg.openFirewall -> !isLoopback;
        message = "services.runpod-hub: openFirewall opens a port on which only loopback is served; set settings.hub.host, or leave the port closed and put a TLS proxy in front.";
      }
    ];

    environment.systemPackages = [ cfg.package ];

    networking.firewall.allowedTCPPorts = mkIf cfg.openFirewall [ cfg.settings.hub.port ];

    users.users.runpod-hub = {
      isSystemUser = true;
      group = "runpod-hub";
      home = "/var/lib/runpod-hub";
    };
    users.groups.runpod-hub = { };

    systemd.services.runpod-hub = {
      description = "RunPod hub: pods, agents and costs";
      wantedBy = [ "multi-user.target" ];
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      environment.RUNPOD_STATE_DIR = "%S/runpod-hub";
      serviceConfig = {
        Type = "exec";
        ExecStart = lib.concatStringsSep " " (
          [
            (lib.getExe cfg.package)
            "serve"
            "--config"
            "${checkedConfigFile}"
          ]
          ++ lib.optional (!isLoopback) "--allow-remote"
        );
        LoadCredential = lib.mapAttrsToList (name: path: "${name}:${path}") cfg.credentials;
        User = "runpod-hub";
        Group = "runpod-hub";
        StateDirectory = "runpod-hub";
        StateDirectoryMode = "0700";
        Restart = "on-failure";
        RestartSec = 5;
        TimeoutStopSec = 20;

        AmbientCapabilities = [ "" ];
        CapabilityBoundingSet = [ "" ];
        DevicePolicy = "closed";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateTmp = true;
        PrivateUsers = true;
        ProcSubset = "pid";
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        ProtectSystem = "strict";
        RemoveIPC = true;
        # the API, SSH to pods and the listening socket; nothing else is spoken
        RestrictAddressFamilies = [
          "AF_INET"
          "AF_INET6"
          "AF_UNIX"
        ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallFilter = [
          "@system-service"
          "~@privileged"
          "~@resources"
        ];
        UMask = "0077";
      };
    };
  };
}
