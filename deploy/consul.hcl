# Consul, what servers and clients share. Written by deploy/node.sh: run that again rather than editing this file;
# what you add yourself (TLS, gossip key, tokens) goes into another file of this folder, which node.sh leaves alone.
node_name  = "@NAME@"
datacenter = "@DATACENTER@"
data_dir   = "/var/lib/consul"
bind_addr  = "@ADDRESS@"
retry_join = [@JOIN@]

# The API on loopback, and on a socket for what runs in a network namespace of its own. DNS (port 8600) for everybody:
# it only reads, and it is how clients find llm.service.consul.
addresses {
  http = "@HTTP@ unix:///run/consul/http.sock"
  grpc = "127.0.0.1"
  dns  = "@DNS@"
}

unix_sockets {
  mode = "0660"
}

# Sidecars take their certificates and their configuration from here.
ports {
  grpc = 8502
}

connect {
  enabled = true
}

performance {
  raft_multiplier = 1
}

leave_on_terminate   = false
disable_update_check = true
