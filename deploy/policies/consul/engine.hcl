# For the tasks of engines: the download notes what this node has. The engine itself asks Consul nothing; it is
# registered by the identity of its service.
key_prefix "aivailable/cache/" {
  policy = "write"
}
