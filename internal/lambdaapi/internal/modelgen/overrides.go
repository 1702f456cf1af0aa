package main

import (
	"fmt"
	"slices"
)

// Corrections, all from answers that were recorded from AWS: the model's text is
// sometimes newer or older than what the service says.

var patterns = map[string]string{
	"LayerVersionArn":  `(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+)`,
	"TaggableResource": `arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:(function:[a-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|layer:([a-zA-Z0-9-_]+)|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|capacity-provider:[a-zA-Z0-9-_]+)`,
}

// enumTexts are the orders in which violations list an enumeration, and for
// runtimes also names that no request may use.
var enumTexts = map[string][]string{
	"RecursiveLoop":       {"Terminate", "Allow"},
	"EventSourcePosition": {"LATEST", "AT_TIMESTAMP", "TRIM_HORIZON"},
	"Runtime": {
		"ruby3.5", "ruby2.6", "dotnetcore1.0", "python3.7", "nodejs8.10", "nasa", "ruby2.7", "python2.7-greengrass",
		"dotnetcore2.0", "python3.8", "java21", "dotnet6", "dotnetcore2.1", "python3.9", "java11", "nodejs6.10", "provided",
		"dotnetcore3.1", "dotnet8", "java25", "java17", "nodejs", "nodejs4.3", "java8.al2", "go1.x", "dotnet10", "nodejs20.x",
		"go1.9", "byol", "nodejs10.x", "provided.al2023", "nodejs22.x", "python3.10", "java8", "nodejs12.x", "python3.11",
		"nodejs24.x", "nodejs8.x", "python3.12", "nodejs14.x", "nodejs8.9", "nodejs26.x", "python3.13", "python3.14",
		"nodejs16.x", "python3.15", "provided.al2", "nodejs4.3-edge", "nodejs18.x", "ruby3.2", "python3.4", "ruby3.3",
		"ruby3.4", "ruby2.5", "python3.6", "python2.7",
	},
	"CompatibleRuntime": {
		"nodejs20.x", "python3.14", "provided.al2023", "python3.12", "python3.13", "nodejs24.x", "nodejs22.x", "java25",
		"python3.10", "python3.11", "java21", "ruby3.3", "ruby3.4", "ruby3.2", "python3.8", "python3.9", "java17",
		"nodejs16.x", "dotnet10", "dotnet8", "java11", "dotnet6", "nodejs18.x", "provided.al2", "java8.al2",
	},
}

func (m *model) correct() error {
	// A function's runtime is checked by the service behind the API, which says
	// more than that it is unknown; a layer's list of runtimes is checked here.
	runtime := *m.Shapes["Runtime"]
	runtime.unchecked = true
	m.Shapes["FunctionRuntime"] = &runtime
	compatible := *m.Shapes["Runtime"]
	m.Shapes["CompatibleRuntime"] = &compatible
	for _, in := range []string{"CreateFunctionRequest", "UpdateFunctionConfigurationRequest"} {
		if err := m.setMember(in, "Runtime", "FunctionRuntime"); err != nil {
			return err
		}
	}
	m.Shapes["CompatibleRuntimes"].Member.Shape = "CompatibleRuntime"
	m.Shapes["CompatibleRuntimes"].plainElems = true
	m.Shapes["SubnetIds"].nullable = true
	m.Shapes["SecurityGroupIds"].nullable = true
	for name, p := range patterns {
		if m.Shapes[name] == nil {
			return fmt.Errorf("override of the unknown shape %s", name)
		}
		m.Shapes[name].Pattern = p
	}
	for name, text := range enumTexts {
		m.Shapes[name].enumText = text
	}
	// Runtimes are reported before architectures.
	names := m.Shapes["PublishLayerVersionRequest"].Members.names
	a, r := slices.Index(names, "CompatibleArchitectures"), slices.Index(names, "CompatibleRuntimes")
	if a < r {
		names[a], names[r] = names[r], names[a]
	}
	// The model says 200; the service answers 204.
	del := m.Operations["DeleteFunction"]
	del.HTTP.Code = 204
	m.Operations["DeleteFunction"] = del
	return nil
}

func (m *model) setMember(structure, member, shape string) error {
	s := m.Shapes[structure]
	r, ok := s.Members.refs[member]
	if !ok {
		return fmt.Errorf("override of the unknown member %s of %s", member, structure)
	}
	r.Shape = shape
	s.Members.refs[member] = r
	return nil
}
