package lambdaapi_test

import (
	"maps"
	goruntime "runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"lambent.dev/lambent/internal/image/imagetest"
)

// images pushes an image to each of some repositories of a registry, and returns
// their references.
func images(s *session, repositories ...string) []string {
	registry := imagetest.Start(s.t)
	registry.Open = true
	var all []string
	for _, repo := range repositories {
		layer := imagetest.Layer(s.t, [2]string{"bin/serve!", repo})
		img := imagetest.Image(s.t, goruntime.GOARCH, v1.Config{Entrypoint: []string{"/bin/serve"}}, layer)
		all = append(all, registry.Push(s.t, repo+":latest", img))
	}
	return all
}

// fromImage creates a function of an image as the suite does.
func (s *session) fromImage(step, reference string, members m) {
	s.t.Helper()
	in := m{
		"FunctionName": s.fn, "Role": role, "PackageType": "Image", "Environment": m{"Variables": m{"CUSTOM_ENV": "test"}},
		"Architectures": []string{map[string]string{"amd64": "x86_64", "arm64": "arm64"}[goruntime.GOARCH]}, "Code": m{"ImageUri": reference},
	}
	maps.Copy(in, members)
	s.do(step, "CreateFunction", in)
	s.settle(s.fn)
}

func (s *session) shown(codeStep, configStep string) {
	s.t.Helper()
	s.do(codeStep, "GetFunction", m{"FunctionName": s.fn})
	s.do(configStep, "GetFunctionConfiguration", m{"FunctionName": s.fn})
}

func imageScenarios() map[string]scenario {
	return map[string]scenario{
		"TestLambdaImages::test_lambda_image_crud": func(s *session) {
			repos := images(s, "one", "two")
			s.fromImage("create-image-response", repos[0], nil)
			s.shown("get-function-code-response", "get-function-config-response")
			s.do("image-to-zipfile-error", "UpdateFunctionCode", m{"FunctionName": s.fn, "ZipFile": archive("a", "b")})
			s.do("update-function-code-response", "UpdateFunctionCode", m{"FunctionName": s.fn, "ImageUri": repos[1]})
			s.settle(s.fn)
			s.shown("get-function-code-response-after-update", "get-function-config-response-after-update")
		},
		"TestLambdaImages::test_lambda_image_and_image_config_crud": func(s *session) {
			repos := images(s, "one")
			s.fromImage("create-image-with-config-response", repos[0], m{"ImageConfig": m{
				"EntryPoint": []string{"sh"}, "Command": []string{"-c", "echo test"}, "WorkingDirectory": "/app1",
			}})
			s.shown("get-function-code-with-config-response", "get-function-config-with-config-response")
			s.do("update-function-code-response", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "ImageConfig": m{
				"Command": []string{"-c", "echo test1"}, "WorkingDirectory": "/app1",
			}})
			s.settle(s.fn)
			s.shown("get-function-code-response-after-update", "get-function-config-response-after-update")
			s.do("update-function-code-delete-imageconfig-response", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "ImageConfig": m{}})
			s.settle(s.fn)
			s.shown("get-function-code-response-after-delete-imageconfig", "get-function-config-response-after-delete-imageconfig")
		},
		"TestLambdaImages::test_lambda_image_versions": func(s *session) {
			repos := images(s, "one")
			s.fromImage("create_image_response", repos[0], m{"Publish": true})
			s.do("get_function_result", "GetFunction", m{"FunctionName": s.fn})
			s.do("list_versions_result", "ListVersionsByFunction", m{"FunctionName": s.fn})
			update := func(step, shown, description string) {
				s.do(step, "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Description": description})
				s.settle(s.fn)
				s.do(shown, "GetFunction", m{"FunctionName": s.fn})
			}
			update("first_update_response", "first_update_get_function", "Second version :)")
			s.do("invalid_sha_publish", "PublishVersion", m{"FunctionName": s.fn, "CodeSha256": strings.Repeat("a", 64)})
			s.do("first_publish_response", "PublishVersion", m{"FunctionName": s.fn, "Description": "Second version description :)"})
			update("second_update_response", "second_update_get_function", "Third version :)")
			s.do("second_publish_response", "PublishVersion", m{"FunctionName": s.fn, "Description": "Third version description :)"})
		},
	}
}
