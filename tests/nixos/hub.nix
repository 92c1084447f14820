# The hub as a service on a booted machine, watching a simulated RunPod on the same machine.
{ self }:
{
  name = "runpod-hub";

  nodes.hub =
    { pkgs, lib, ... }:
    {
      imports = [ self.nixosModules.default ];
      services.runpod-hub = {
        enable = true;
        settings.client.api_url = "http://127.0.0.1:8600";
        settings.hub.interval_seconds = 5;
        credentials.runpod-api-key = "/run/secrets/runpod-api-key";
      };
      systemd.services.runpod-hub = {
        wants = [ "runpod-sim.service" ];
        after = [ "runpod-sim.service" ];
      };
      systemd.services.runpod-sim = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig.ExecStart = "${lib.getExe pkgs.runpod-sim} serve --port 8600";
      };
      systemd.tmpfiles.rules = [
        "d /run/secrets 0700 root root -"
        "f /run/secrets/runpod-api-key 0600 root root - rpa_simulated0000000000000000"
      ];
      environment.systemPackages = [
        pkgs.runpod-client
        pkgs.jq
        pkgs.curl
      ];
    };

  testScript = ''
    hub.start()
    hub.wait_for_unit("runpod-hub.service")
    hub.wait_for_open_port(8400)
    hub.wait_until_succeeds("curl --fail --silent http://127.0.0.1:8400/health/live")

    with subtest("the token is the service's own"):
        hub.succeed("test $(stat -c %a:%U /var/lib/runpod-hub) = 700:runpod-hub")
        hub.fail("runuser -u nobody -- cat /var/lib/runpod-hub/hub/token")

    with subtest("it knows the pods"):
        token = hub.succeed("cat /var/lib/runpod-hub/hub/token").strip()
        hub.wait_until_succeeds(
            f"curl --fail --silent -H 'Authorization: Bearer {token}' http://127.0.0.1:8400/api/runpod/status"
            " | jq --exit-status '.success and .summary.total_pods == 0'"
        )

    with subtest("it comes back after kill -9"):
        hub.succeed("systemctl kill --signal=KILL runpod-hub.service")
        hub.wait_until_succeeds("curl --fail --silent http://127.0.0.1:8400/health/live")
  '';
}
