"""A cluster on one machine: OpenSSH servers, Erlang VMs, an EMQX-shaped release. For people, tests and benchmarks."""
