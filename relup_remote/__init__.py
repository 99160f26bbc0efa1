"""Hot-upgrade a whole EMQX cluster over SSH, node by node, without dropping a connection."""
