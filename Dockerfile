# The images for those who build with Docker; `make image` needs none.
#
#   docker build --build-arg BASE=... --build-arg COMMAND=scheduler \
#     --build-arg VERSION=$(hack/version.sh) --build-arg REVISION=$(git rev-parse HEAD) .
#
# KUBERNETES is a minor of hack/kubernetes/minors, the default one unless it is given; VERSION
# is $(KUBERNETES=1.37 hack/version.sh) with it.
# BASE is the static image of the distroless project with the tag nonroot, from a
# registry that you trust and best by its digest. It holds certificates of
# authorities, an account nonroot (65532), and no shell. The image of `make image`
# is made from nothing and holds the same.
ARG GO=1.26
ARG BASE

FROM golang:${GO} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG COMMAND=scheduler
ARG VERSION
ARG REVISION
ARG KUBERNETES
ARG TARGETARCH
RUN ARCH=${TARGETARCH:-amd64} hack/release-binary.sh ${COMMAND} /out/usr/local/bin/hyperconverge-${COMMAND}
# Where OpenShift's Secondary Scheduler Operator looks for a scheduler.
RUN mkdir /out/bin && if [ ${COMMAND} = scheduler ]; then ln -s /usr/local/bin/hyperconverge-scheduler /out/bin/kube-scheduler; fi

FROM ${BASE}
COPY --from=build /out/usr/local/bin/ /usr/local/bin/
# A folder of its own: the base may have a symbolic link in this place.
COPY --from=build /out/bin/ /bin/
ENV PATH=/usr/local/bin
USER 65532:65532
# The command is written out in the manifests; an image has one binary only.
