# Consul, servers only. Written by deploy/node.sh.
server           = true
bootstrap_expect = @SERVERS@
