# Spanway in an image, for deploy/kubernetes (docs/DEPLOY.md):
#
#   docker build -t registry.example/spanway:0.1.0 .
#
# Both stages are one Debian, so that the second has the Python and the C library that the first built for.
FROM rust:1-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
WORKDIR /src
COPY . .
RUN make wheel
# What it depends on, in the versions and with the hashes of the lock file; no tools of developers.
RUN .venv/bin/python -m pip install --quiet uv && python3 -m venv --without-pip /opt/spanway && \
    .venv/bin/uv pip install --no-cache --python /opt/spanway/bin/python --constraint requirements.lock \
      "spanway[top,grpc] @ file://$(ls /src/target/wheels/spanway-*-manylinux*.whl)"

FROM debian:bookworm-slim
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates python3 && \
    rm -rf /var/lib/apt/lists/* && install -d -o 65532 -g 65532 /var/lib/spanway
COPY --from=build /opt/spanway /opt/spanway
ENV PATH=/opt/spanway/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
ENTRYPOINT ["spanway"]
CMD ["run"]
