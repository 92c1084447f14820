# The smallest machine that runs the hub; the unit check reads its unit text.
{
  services.runpod-hub = {
    enable = true;
    settings.hub.interval_seconds = 30;
    credentials.runpod-api-key = "/run/secrets/runpod-api-key";
  };
  networking.hostName = "hub";
  system.stateVersion = "26.05";
}
