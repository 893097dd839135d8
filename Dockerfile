# A static binary in an otherwise empty image, run by an unprivileged user.
#
#   docker build -t m3o-ingress .
#   docker run -p 8080:8080 -v m3o-data:/data m3o-ingress
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/ingress ./cmd/ingress && mkdir /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/ingress /ingress
COPY --from=build --chown=65532:65532 --chmod=0700 /out/data /data
USER 65532:65532
ENV INGRESS_LISTEN=:8080 INGRESS_ADMIN_LISTEN=:8081 INGRESS_DATA_DIR=/data
EXPOSE 8080 8081
VOLUME /data
ENTRYPOINT ["/ingress"]
