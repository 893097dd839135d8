package api

import (
	"fmt"

	contract "github.com/m3o/ingress/proto"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Contract returns every service of the contract in the order of its files, with
// the comments that the generated code does not carry.
func Contract() ([]protoreflect.ServiceDescriptor, error) {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(contract.Contract, &set); err != nil {
		return nil, fmt.Errorf("read the compiled contract: %w", err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("link the compiled contract: %w", err)
	}
	var services []protoreflect.ServiceDescriptor
	for _, file := range set.GetFile() {
		linked, err := files.FindFileByPath(file.GetName())
		if err != nil {
			return nil, fmt.Errorf("find %s in the compiled contract: %w", file.GetName(), err)
		}
		for i := range linked.Services().Len() {
			services = append(services, linked.Services().Get(i))
		}
	}
	return services, nil
}

// withComments returns the services' descriptors as the contract has them. One
// that is not part of it keeps its own.
func withComments(services []Service) ([]protoreflect.ServiceDescriptor, error) {
	all, err := Contract()
	if err != nil {
		return nil, err
	}
	commented := map[protoreflect.FullName]protoreflect.ServiceDescriptor{}
	for _, service := range all {
		commented[service.FullName()] = service
	}
	descriptors := make([]protoreflect.ServiceDescriptor, 0, len(services))
	for _, service := range services {
		descriptor := service.Descriptor
		if known := commented[descriptor.FullName()]; known != nil {
			descriptor = known
		}
		descriptors = append(descriptors, descriptor)
	}
	return descriptors, nil
}
