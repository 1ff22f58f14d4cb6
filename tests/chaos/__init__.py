"""What is lost when things change or break: `ingressd run` with pods of their own (tests/netlab), under steady load.

Each test makes a World (`world`): pods in network namespaces, manifests, and ingressd in front. Clients of five kinds,
over HTTP and HTTPS (`traffic`), ask without a pause and judge every answer. What a test has seen goes into the table of
docs/reliability.md (`table`). Run with `make test-chaos`, as root.
"""
