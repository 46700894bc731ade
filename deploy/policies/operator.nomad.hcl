# For whoever runs the system, beside user.nomad.hcl: up and down, add-ons, the hub's token, draining nodes. Whoever may submit
# jobs where raw_exec is on is root on the nodes; that is why deploying people do without.
namespace "@NAMESPACE@" {
  # Open WebUI's data is a host volume, made once.
  capabilities = ["submit-job", "host-volume-create", "host-volume-read"]

  variables {
    # What signs its sessions, and its variables.
    path "nomad/jobs/aivailable-open-webui" {
      capabilities = ["list", "read", "write", "destroy"]
    }

    path "aivailable/hub*" {
      capabilities = ["list", "read", "write", "destroy"]
    }
  }
}

node {
  policy = "write"
}

# Whoever starts a job must have the right to what it mounts.
host_volume "aivailable-open-webui" {
  capabilities = ["mount-readwrite"]
}
