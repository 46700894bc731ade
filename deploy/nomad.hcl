# Nomad, what servers and clients share. Written by deploy/node.sh: run that again rather than editing this file;
# what you add yourself (TLS, tokens) goes into another file of this folder, which node.sh leaves alone.
name       = "@NAME@"
datacenter = "@DATACENTER@"
data_dir   = "/var/lib/nomad"
plugin_dir = "/usr/local/lib/aivailable/plugins"
bind_addr  = "@ADDRESS@"

# The HTTP API can start anything as root on every node, so without `node.sh --open-api` it is on loopback only.
addresses {
  http = "@HTTP@"
}

advertise {
  http = "@ADDRESS@"
  rpc  = "@ADDRESS@"
  serf = "@ADDRESS@"
}

consul {
  address      = "127.0.0.1:8500"
  grpc_address = "127.0.0.1:8502"
}

# A stopped agent is a restart or an upgrade: engines run on, and nothing is deregistered.
leave_on_interrupt   = false
leave_on_terminate   = false
disable_update_check = true
