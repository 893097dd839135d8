// Package proto holds the platform's contract: one .proto file per service,
// the Go code generated from it, and the compiled descriptors with their
// comments, from which the OpenAPI document is made.
//
// The generated code is committed, so that building the program needs nothing
// but Go. To renew it after changing a .proto file: go generate ./proto
package proto

import _ "embed"

//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 generate --template ../buf.gen.yaml .. -o ..
//go:generate go run github.com/bufbuild/buf/cmd/buf@v1.75.0 build .. -o contract.binpb

// Contract is the serialized google.protobuf.FileDescriptorSet of every service
// with its source comments, which the generated Go code does not carry.
//
//go:embed contract.binpb
var Contract []byte
