# kvc alone, in an image of nothing else: docker build -t kvc . && docker run --rm kvc demo -o /tmp/demo
FROM golang:1.26 AS build
WORKDIR /src
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o /kvc ./cmd/kvc && mkdir /scratch-tmp && chmod 1777 /scratch-tmp

FROM scratch
COPY --from=build /kvc /kvc
COPY --from=build /scratch-tmp /tmp
ENTRYPOINT ["/kvc"]
