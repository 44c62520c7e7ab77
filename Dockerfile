# kvc alone, in an image of nothing else: docker build -t kvc . && docker run --rm kvc demo -o /tmp/demo
FROM golang:1.26 AS build
WORKDIR /src
COPY . .
RUN mkdir -p /image/tmp && chmod 1777 /image/tmp && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /image/kvc ./cmd/kvc

# What is in a folder keeps its mode, which a folder that COPY makes has not.
FROM scratch
COPY --from=build /image/ /
ENTRYPOINT ["/kvc"]
