# Thinwire with the CPU build of torch. docs/guide/docker.md has the commands, and the build for CUDA.
FROM python:3.11-slim

# torch compiles long trainings: with g++ for a CPU, and with Triton, which needs a C compiler, for CUDA.
# The versions are those of the base image's Debian release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

# A user without rights. /cache is also the home folder, so that one volume holds all that is fetched and compiled.
RUN useradd --home-dir /cache --uid 1000 thinwire \
    && mkdir -p /cache /work \
    && chown 1000:1000 /cache /work

WORKDIR /opt/thinwire
# torch first: this layer, by far the largest, stays when the package changes.
# Another index gives another build of the pinned version: https://pypi.org/simple the one for CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt --index-url "$TORCH_INDEX" \
      --extra-index-url https://pypi.org/simple torch

# Extras of pyproject.toml in brackets, as [plots,pandas].
ARG EXTRAS=
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
COPY experiments ./experiments
RUN pip install --no-cache-dir --constraint constraints.txt ".$EXTRAS" && pip check

# The commit that records of results name; the image holds no history.
ARG COMMIT=
# USER is set because torch asks for a name, which a user id given to `docker run` has not.
ENV HOME=/cache USER=thinwire THINWIRE_CACHE=/cache/thinwire THINWIRE_COMMIT=$COMMIT
USER 1000:1000
WORKDIR /work
VOLUME ["/cache"]
ENTRYPOINT ["thinwire"]
CMD ["--help"]
