package project

import (
	"os"
	"strings"
	"testing"
)

func TestDotnetRuntime(t *testing.T) {
	for framework, want := range map[string]string{
		"net8.0": "dotnet8", "net10.0": "dotnet10", "netcoreapp3.1": "dotnetcore3.1", "net7.0": "", "net48": "", "netcoreapp6.0": "", "": "",
	} {
		if got := dotnetRuntime(framework); got != want {
			t.Errorf("%s: %q, want %q", framework, got, want)
		}
	}
}

func TestStartsItself(t *testing.T) {
	program, err := os.ReadFile("../../../runtimes/dotnet/bootstrap.dll")
	if err != nil {
		t.Fatal(err)
	}
	if !startsItself(program) {
		t.Error("a program is none")
	}
	for size := range 1024 {
		startsItself(program[:size]) // whatever it says, it ends
	}
	if startsItself([]byte(strings.Repeat("MZ", 100))) {
		t.Error("what is no assembly is a program")
	}
}

func TestLookAtDotnet(t *testing.T) {
	program, err := os.ReadFile("../../../runtimes/dotnet/bootstrap.dll")
	if err != nil {
		t.Fatal(err)
	}
	const config = `{"runtimeOptions": {"tfm": "net8.0", "framework": {"name": "Microsoft.NETCore.App", "version": "8.0.0"}}}`
	published := []string{"My.App.dll", string(program), "My.App.runtimeconfig.json", config, "My.App.deps.json", "{}", "Other.dll", ""}
	g, err := Look(files(published...), "", "")
	if err != nil || g.Runtime != "dotnet8" || g.Handler != "My.App" || len(g.Because) != 2 {
		t.Errorf("a program: %+v, %v", g, err)
	}
	g, err = Look(files(published...), "dotnet10", "My.App::A.B::C")
	if err != nil || g.Runtime != "dotnet10" || g.Handler != "My.App::A.B::C" {
		t.Errorf("named: %+v, %v", g, err)
	}
	library := append(published[:len(published):len(published)], "aws-lambda-tools-defaults.json", `{"function-handler": "My.App::A.B::C"}`)
	if g, err = Look(files(library...), "", ""); err != nil || g.Handler != "My.App::A.B::C" {
		t.Errorf("with defaults: %+v, %v", g, err)
	}
	_, err = Look(files("Lib.dll", "", "Lib.runtimeconfig.json", config), "", "")
	if err == nil || !strings.Contains(err.Error(), "--handler, such as Assembly::Namespace.Class::Method") {
		t.Errorf("a library: %v", err)
	}
	_, err = Look(files("App.csproj", "<Project/>", "Program.cs", ""), "", "")
	if err == nil || !strings.Contains(err.Error(), "App.csproj is a .NET project: publish it first") {
		t.Errorf("a project: %v", err)
	}
}
