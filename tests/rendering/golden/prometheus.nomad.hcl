# Written by AIvailable. Prometheus: reads controllers, gateways and engines, as Consul knows them, and judges the alerts.
job "aivailable-prometheus" {
  type     = "service"
  priority = 60

  ui {
    description = "AIvailable: metrics and alerts (Prometheus)"
  }

  group "prometheus" {
    # With Consul's ACLs on, the task gets a token by its workload identity.
    consul {}

    constraint {
      attribute = "${meta.aivailable_consul}"
      operator  = "is_set"
    }

    restart {
      attempts = 5
      interval = "1m"
      delay    = "2s"
      mode     = "delay"
    }

    reschedule {
      delay          = "5s"
      delay_function = "exponential"
      max_delay      = "1m"
      unlimited      = true
    }

    # What was measured goes with it to another node, as long as this one answers.
    ephemeral_disk {
      size    = 5120
      sticky  = true
      migrate = true
    }

    network {
      port "web" {
        static = 9090
      }
    }

    service {
      name     = "aivailable-prometheus"
      port     = "web"
      provider = "consul"

      check {
        type     = "http"
        path     = "/-/ready"
        interval = "1s"
        timeout  = "2s"
      }
    }

    task "prometheus" {
      driver       = "docker"
      kill_timeout = "30s"

      config {
        image        = "prom/prometheus:v3.14.0"
        network_mode = "host"
        args = [
          "--config.file=${NOMAD_TASK_DIR}/prometheus.yml",
          "--storage.tsdb.path=${NOMAD_ALLOC_DIR}/data/prometheus",
          "--storage.tsdb.retention.size=4096MB",
          "--storage.tsdb.retention.time=90d",
          "--web.listen-address=${NOMAD_IP_web}:${NOMAD_PORT_web}",
        ]
      }

      env {
        CONSUL_HTTP_ADDR = "${meta.aivailable_consul}"
      }

      template {
        destination     = "local/prometheus.yml"
        left_delimiter  = "[["
        right_delimiter = "]]"
        change_mode     = "signal"
        change_signal   = "SIGHUP"
        data            = <<EOT
# What Prometheus reads of a cluster; Consul knows where. For a Prometheus of your own: put the address of a Consul agent
# for CONSUL (127.0.0.1:8500) and that of a gateway's probe port for GATEWAY (llm.service.consul:8081), and put alerts.yml
# beside this file. The job that AIvailable renders fills both in.
global:
  scrape_interval: 15s
  evaluation_interval: 15s

rule_files:
  - alerts.yml

scrape_configs:
  - job_name: aivailable-controllers
    consul_sd_configs:
      - server: '[[ env "CONSUL_HTTP_ADDR" ]]'
        services: [aivailable-controller]
    relabel_configs:
      # Where gateways have a certificate, controllers show the same one; it is for the name that clients use.
      - {source_labels: [__meta_consul_service_metadata_scheme], regex: (.+), target_label: __scheme__}
    tls_config: {insecure_skip_verify: true}

  - job_name: aivailable-gateways
    consul_sd_configs: &gateways
      - server: '[[ env "CONSUL_HTTP_ADDR" ]]'
        services: [llm]
    relabel_configs: &probe_port
      - {source_labels: [__address__, __meta_consul_service_metadata_probe], regex: '(.+):\d+;(\d+)', replacement: '$1:$2', target_label: __address__}
      - {source_labels: [__meta_consul_node], target_label: node}

  - job_name: aivailable-feeders
    metrics_path: /metrics/feeder
    consul_sd_configs: *gateways
    relabel_configs: *probe_port

  # Engines in the mesh let in the gateways alone: each is read through one of them.
  - job_name: aivailable-engines
    consul_sd_configs:
      - server: '[[ env "CONSUL_HTTP_ADDR" ]]'
        services: [llm-engine, llm-engine-sidecar-proxy]
    relabel_configs:
      # While it loads it has no metrics.
      - {source_labels: [__meta_consul_health], regex: passing, action: keep}
      # Behind an Envoy sidecar: the sidecar's address is the one to ask for.
      - {source_labels: [__meta_consul_service, __meta_consul_service_port], regex: 'llm-engine;8000', action: drop}
      - {source_labels: [__address__], target_label: instance}
      - {source_labels: [__address__], replacement: '/engines/$1/metrics', target_label: __metrics_path__}
      - {target_label: __address__, replacement: '[[ with service "llm" ]][[ with index . 0 ]][[ .Address ]]:[[ .ServiceMeta.probe ]][[ end ]][[ else ]]127.0.0.1:8081[[ end ]]'}
      - {source_labels: [__meta_consul_service_metadata_model], target_label: model}
      - {source_labels: [__meta_consul_service_metadata_replica], target_label: replica}
      - {source_labels: [__meta_consul_service_metadata_engine], target_label: engine}
      - {source_labels: [__meta_consul_node], target_label: node}
EOT
      }

      template {
        destination     = "local/alerts.yml"
        left_delimiter  = "[["
        right_delimiter = "]]"
        change_mode     = "signal"
        change_signal   = "SIGHUP"
        data            = <<EOT
# What to wake somebody for. docs/monitoring.md says what each means and what to do.
groups:
  - name: aivailable
    rules:
      - alert: ModelWithoutReplica
        expr: max by (model) (aivailable_replicas_wanted) > 0 and max by (model) (aivailable_replicas_serving) == 0
        for: 2m
        labels: {severity: critical}
        annotations:
          summary: 'No replica of {{ $labels.model }} serves.'
          description: 'Requests for {{ $labels.model }} are answered 503. `aivailable status` and `aivailable explain {{ $labels.model }}` say why.'

      - alert: ReplicasMissing
        expr: max by (model) (aivailable_replicas_serving) < max by (model) (aivailable_replicas_wanted)
        for: 15m
        labels: {severity: warning}
        annotations:
          summary: '{{ $labels.model }} serves with {{ $value }} replicas, fewer than wanted.'
          description: '`aivailable status` shows which are missing, `aivailable plan` what would help.'

      - alert: CardOverClaim
        # Half a slice beyond what is booked: drivers keep a little for themselves.
        expr: >-
          max by (node, card, name) (aivailable_vram_used_bytes)
          - max by (node, card, name) (aivailable_vram_foreign_bytes)
          > max by (node, card, name) (aivailable_vram_claimed_bytes) + 268435456
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: '{{ $labels.name }} of {{ $labels.node }} holds {{ $value | humanize1024 }}B, more than is booked.'
          description: 'The next engine may find no memory on this card. `aivailable status` shows who holds what.'

      - alert: ReplicaOverClaim
        expr: >-
          max by (model, replica, nomad_job, node, card) (aivailable_replica_measured_bytes)
          > max by (model, replica, nomad_job, node, card) (aivailable_replica_claimed_bytes)
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: 'Replica {{ $labels.replica }} of {{ $labels.model }} holds {{ $value | humanize1024 }}B of a card, more than it booked.'
          description: 'The controller replaces it by one with a larger claim as soon as there is room.'

      - alert: CardSick
        expr: max by (node, card, name) (aivailable_card_healthy) == 0
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: '{{ $labels.name }} of {{ $labels.node }} cannot be used.'
          description: 'Its driver reports it as unhealthy, or Nomad does not hear from its node. `aivailable doctor` says which.'

      - alert: NoGateway
        expr: absent(up{job="aivailable-gateways"} == 1)
        for: 1m
        labels: {severity: critical}
        annotations:
          summary: 'No gateway answers.'
          description: 'Clients cannot connect. `nomad job status aivailable-gateway` shows what Nomad does.'

      - alert: GatewayStale
        expr: max by (instance, store) (aivailable_gateway_stale_seconds) > 60
        for: 1m
        labels: {severity: warning}
        annotations:
          summary: 'The gateway at {{ $labels.instance }} has not read {{ $labels.store }} for {{ $value | humanizeDuration }}.'
          description: 'It goes on with what it knew last. registry: Consul; secrets: Nomad; certificates: the mesh; files: the certificate for clients.'

      - alert: RequestsFail
        expr: >-
          sum by (model) (rate(envoy_llm_requests{code=~"5.."}[5m]))
          > 0.05 * sum by (model) (rate(envoy_llm_requests[5m]))
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: 'More than 5 % of the requests for {{ $labels.model }} fail.'
          description: 'Too many at once, or engines that fail. `access.log` of the gateways says which code, `aivailable logs {{ $labels.model }}` what the engine says.'

      - alert: NoLeader
        expr: absent(aivailable_leading == 1)
        for: 1m
        labels: {severity: critical}
        annotations:
          summary: 'No controller leads.'
          description: 'What runs goes on; nothing is replaced or deployed. `nomad job status aivailable-controller` shows what Nomad does.'

      - alert: ControllerStuck
        expr: time() - max(aivailable_last_round_timestamp_seconds and aivailable_leading == 1) > 120
        for: 1m
        labels: {severity: critical}
        annotations:
          summary: 'The controller that leads has finished no round for {{ $value | humanizeDuration }}.'
          description: 'Its log says what it cannot read or write: `nomad alloc logs -job aivailable-controller`.'

      - alert: EngineUnread
        expr: up{job="aivailable-engines"} == 0
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: 'The metrics of {{ $labels.model }} #{{ $labels.replica }} on {{ $labels.node }} cannot be read.'
          description: 'It is registered as healthy, and no gateway reads it. Its log: `aivailable logs {{ $labels.model }}`.'
EOT
      }

      resources {
        cpu    = 200
        memory = 512
      }
    }
  }
}
