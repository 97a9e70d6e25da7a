# SPDX-License-Identifier: Apache-2.0
# Two images: `agent` (ullage-agent, ullage-lease, ullagectl) and `domain-hook` (KubeVirt's sidecar).
# Each holds its programs and the libraries that they load, nothing else: no shell, no package manager.
#
#   buildah bud --isolation chroot --target agent --tag ullage .
#   buildah bud --isolation chroot --target domain-hook --tag ullage-domain-hook .
#
# scripts/images does both, also where no registry can be reached, and can do the last two stages with
# programs that are there already.

FROM debian:bookworm-slim AS build
WORKDIR /src
COPY scripts/setup scripts/setup
COPY scripts/lib/common.sh scripts/lib/common.sh
# The module for guests is not built here.
RUN scripts/setup --what build && rm -rf /var/lib/apt/lists/*
COPY CMakeLists.txt CMakePresets.json ./
COPY scripts scripts
COPY node-agent node-agent
COPY qemu-backend qemu-backend
# Mount a folder here (scripts/images does), and the next build takes seconds.
ENV CCACHE_DIR=/var/cache/ccache
RUN cmake --preset demo >/dev/null && \
    ninja -C build/demo ullage-agent ullagectl ullage-domain-hook && \
    scripts/lib/image-tree /tree/agent build/demo/bin/ullage-agent build/demo/bin/ullage-lease \
        build/demo/bin/ullagectl && \
    scripts/lib/image-tree /tree/domain-hook build/demo/bin/ullage-domain-hook

FROM scratch AS domain-hook
COPY --from=build /tree/domain-hook /
# KubeVirt's own, for which the launcher's volumes are writable.
USER 107:107
ENTRYPOINT ["/usr/bin/ullage-domain-hook"]

FROM scratch AS agent
COPY --from=build /tree/agent /
# Root without a capability that the chart does not give: docs/security.md.
USER 0:0
ENTRYPOINT ["/usr/bin/ullage-agent"]
