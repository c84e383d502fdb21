# syntax=docker/dockerfile:1
#
# docker build --target service  -t activity-indexer:dev .           the indexer (the default target)
# docker build --target operator -t activity-indexer-operator:dev .  the operator
# docker build --target loadgen  -t activity-indexer-loadgen:dev .   the load generator
# docker build --target dev      -t activity-indexer-dev:dev .       sources, tests and all their tools
# docker build --target live-service, live-operator                  the same two, restarted when their sources change

ARG PYTHON_IMAGE=python:3.12-slim

# ---- what builds: uv and the sources; nothing of it but the environments is shipped --------------
FROM ${PYTHON_IMAGE} AS uv
ARG UV_VERSION=0.13.9
# The system's certificates, so that a build behind a company's proxy works too.
ENV UV_CACHE_DIR=/var/cache/uv \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_PROGRESS=1 \
    UV_PROJECT_ENVIRONMENT=/opt/venv \
    UV_PYTHON_DOWNLOADS=0 \
    UV_SYSTEM_CERTS=1
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --disable-pip-version-check --root-user-action=ignore "uv==${UV_VERSION}"
WORKDIR /src
COPY pyproject.toml uv.lock ./

# Dependencies are a layer of their own: they change with the lock only. The project is reinstalled each time,
# because uv's cache takes it for unchanged as long as pyproject.toml is.
FROM uv AS build-service
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --locked --no-dev --extra service --no-install-project
COPY README.md LICENSE ./
COPY shared shared
COPY service service
COPY loadgen loadgen
COPY operator operator
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --locked --no-dev --extra service --no-editable --reinstall-package activity-indexer

FROM uv AS build-loadgen
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --locked --no-dev --extra loadgen --no-install-project
COPY README.md LICENSE ./
COPY shared shared
COPY service service
COPY loadgen loadgen
COPY operator operator
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --locked --no-dev --extra loadgen --no-editable --reinstall-package activity-indexer

FROM uv AS build-operator
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --locked --no-dev --extra operator --no-install-project
COPY README.md LICENSE ./
COPY shared shared
COPY service service
COPY loadgen loadgen
COPY operator operator
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --locked --no-dev --extra operator --no-editable --reinstall-package activity-indexer \
 # The Kubernetes client's class for each kind is loaded when it is used, which never happens here: 40 MB less.
 && find /opt/venv -path '*/kubernetes/*/__pycache__/*' \( -path '*/api/*' -o -path '*/models/*' \) \
    ! -name '__init__*' -delete

# ---- what runs: Python, one environment, one user; no pip, no uv, no compiler --------------------
FROM ${PYTHON_IMAGE} AS runtime
RUN python -m pip uninstall --yes --quiet --root-user-action=ignore pip \
 && rm -rf /usr/local/lib/python3.12/ensurepip
# LOGNAME: libraries that ask for the user's name find none for a bare number.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    LOGNAME=activity
WORKDIR /app
# A number, so that Kubernetes' runAsNonRoot can check it.
USER 65532:65532
STOPSIGNAL SIGTERM
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.12-slim"

FROM runtime AS loadgen
LABEL org.opencontainers.image.title="activity-loadgen" \
      org.opencontainers.image.description="Publishes synthetic transaction events to Kafka and checks what became searchable."
COPY --from=build-loadgen /opt/venv /opt/venv
COPY publish_test_data_to_kafka.py ./
CMD ["activity-loadgen", "--help"]

FROM runtime AS operator
LABEL org.opencontainers.image.title="activity-indexer-operator" \
      org.opencontainers.image.description="Keeps the indexer at the size that its topic calls for."
COPY --from=build-operator /opt/venv /opt/venv
EXPOSE 8080
CMD ["activity-indexer-operator"]

# ---- development: editable, with the dev group; runs the tests that need no servers ---------------
FROM uv AS dev
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git make \
 && rm -rf /var/lib/apt/lists/*
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --locked --all-extras --no-install-project
COPY --chown=65532:65532 . .
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --locked --all-extras \
 && chown 65532:65532 /src
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    UV_CACHE_DIR=/tmp/uv
USER 65532:65532
LABEL org.opencontainers.image.title="activity-indexer-dev" \
      org.opencontainers.image.description="Activity Indexer's sources, tests and tools."
CMD ["pytest", "tests/unit"]

# ---- `skaffold dev`: editable, restarted by SIGINT, which ends it as SIGTERM does, when a file changes -----------
# Files come by tar, as this user: folders are its own. A debugger is there for `skaffold dev -p debug`.
FROM uv AS live-service
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --locked --no-dev --group live --extra service --no-install-project
COPY --chown=65532:65532 README.md LICENSE ./
COPY --chown=65532:65532 shared shared
COPY --chown=65532:65532 service service
COPY --chown=65532:65532 loadgen loadgen
COPY --chown=65532:65532 operator operator
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --locked --no-dev --group live --extra service
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    LOGNAME=activity
USER 65532:65532
EXPOSE 8080 5678
CMD ["watchfiles", "--filter", "python", "--sigint-timeout", "60", "activity-indexer run", "/src/service/src", "/src/shared/src"]

FROM uv AS live-operator
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --locked --no-dev --group live --extra operator --no-install-project
COPY --chown=65532:65532 README.md LICENSE ./
COPY --chown=65532:65532 shared shared
COPY --chown=65532:65532 service service
COPY --chown=65532:65532 loadgen loadgen
COPY --chown=65532:65532 operator operator
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --locked --no-dev --group live --extra operator
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    LOGNAME=activity
USER 65532:65532
EXPOSE 8080 5678
CMD ["watchfiles", "--filter", "python", "--sigint-timeout", "60", "activity-indexer-operator", "/src/operator/src", "/src/shared/src"]

# ---- last, and so the target where none is named -------------------------------------------------
FROM runtime AS service
LABEL org.opencontainers.image.title="activity-indexer" \
      org.opencontainers.image.description="Indexes transaction events from Kafka into Elasticsearch."
COPY --from=build-service /opt/venv /opt/venv
COPY consumer_worker.py ./
EXPOSE 8080
CMD ["activity-indexer", "run"]
