# ingressd in an image: two stages of one base, so that a virtual environment made in the first runs in the second, which
# has neither a compiler nor anything else of the build. tests/test_dockerfile.py runs these steps on a plain machine.

ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
COPY pyproject.toml setup.py README.md LICENSE /opt/source/
COPY ingressd /opt/source/ingressd
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /opt/wheels /opt/source
RUN python -m venv --without-pip /opt/ingressd
RUN pip --python /opt/ingressd/bin/python install --no-cache-dir /opt/wheels/*.whl
# Without a compiler the hot modules would run interpreted, and nothing but their speed would tell.
RUN /opt/ingressd/bin/ingressd version | grep -x "hot modules: compiled"

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="ingressd" \
      org.opencontainers.image.description="A Kubernetes Ingress controller in Python" \
      org.opencontainers.image.version="0.1.0.dev0" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/ingressd /opt/ingressd
ENV PATH=/opt/ingressd/bin:$PATH
# A number: Kubernetes can tell from it that this is not root.
USER 65532:65532
EXPOSE 80 443 10254
ENTRYPOINT ["ingressd"]
CMD ["run"]
