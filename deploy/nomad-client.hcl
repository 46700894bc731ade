# Nomad, nodes with cards only. Written by deploy/node.sh.
client {
  enabled    = true
  node_class = "@CLASS@"
  cni_path   = "@CNI@"

  # The device that has this host's address in the cluster: what runs here is reached by it.
  network_interface = "{{ GetAllInterfaces | include `address` `^@ADDRESS@(/|$)` | attr `name` }}"

  # An engine may finish its answers when it is stopped; the default cuts it off after 30 s.
  max_kill_timeout = "10m"

  server_join {
    retry_join = [@JOIN@]
  }

  host_volume "aivailable-models" {
    path      = "/var/lib/aivailable/models"
    read_only = false
  }

  meta {
    rack              = "@RACK@"
    aivailable_models = "/var/lib/aivailable/models"

    # Controllers and gateways run in the host's network, sidecars in one of their own: they take the socket.
    aivailable_consul = "http://127.0.0.1:8500"
    consul_http_sock  = "/run/consul/http.sock"
  }

  # No cloud here: these would wait for addresses that never answer.
  options = {
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }
}

# Controllers, gateways and downloads run as plain processes.
plugin "raw_exec" {
  config {
    enabled = true
  }
}

# vLLM's processes share memory through the host's IPC; its image takes long to pull and is kept while engines move.
plugin "docker" {
  config {
    image_pull_timeout = "60m"

    allowed_modes {
      ipc = ["host"]
    }

    gc {
      image_delay = "96h"
    }
  }
}

# Every card as slices of VRAM. The size is fixed while anything runs here; `node.sh reslice` changes it.
plugin "aivailable-gpu" {
  config {
    inventories = [@INVENTORIES@]
    simulated   = "@SIMULATED@"
    node        = "@NODE@"
    slice_mib   = @SLICE_MIB@
    state       = "/var/lib/aivailable/gpu"
  }
}
