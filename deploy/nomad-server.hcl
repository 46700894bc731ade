# Nomad, servers only. Written by deploy/node.sh.
server {
  enabled          = true
  bootstrap_expect = @SERVERS@

  # A node that fell silent is down after 3 to 5 s, not 20: its engines are started elsewhere that much sooner.
  heartbeat_grace   = "1s"
  min_heartbeat_ttl = "2s"

  server_join {
    retry_join = [@JOIN@]
  }
}
