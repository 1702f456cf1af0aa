package lambdaapi_test

import (
	"archive/zip"
	"bytes"
	"maps"
	"strings"
)

// padded is a zip of exactly n bytes, for answers that depend on the size.
func padded(n int) []byte {
	make := func(comment int) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		w, _ := z.Create("f")
		_, _ = w.Write([]byte("x"))
		_ = z.SetComment(strings.Repeat("c", comment))
		_ = z.Close()
		return b.Bytes()
	}
	return make(n - len(make(0)))
}

func (s *session) layer(step, name string, more m) m {
	s.t.Helper()
	in := m{"LayerName": name, "Content": m{"ZipFile": padded(169)}, "CompatibleRuntimes": []string{"python3.12"}, "CompatibleArchitectures": []string{"x86_64"}}
	maps.Copy(in, more)
	if step == "" {
		return s.send("PublishLayerVersion", in)
	}
	return s.do(step, "PublishLayerVersion", in)
}

func layerScenarios() map[string]scenario {
	all := map[string]scenario{
		"TestLambdaLayer::test_layer_exceptions":          layerExceptions,
		"TestLambdaLayer::test_layer_function_exceptions": layerFunctionExceptions,
		"TestLambdaLayer::test_layer_lifecycle":           layerLifecycle,
		"TestLambdaLayer::test_layer_policy_exceptions":   layerPolicyExceptions,
		"TestLambdaLayer::test_layer_policy_lifecycle": func(s *session) {
			s.layer("publish_result", "testlayer", nil)
			at := m{"LayerName": "testlayer", "VersionNumber": 1}
			add := func(step, sid string, more m) {
				in := m{"StatementId": sid, "Action": "lambda:GetLayerVersion", "Principal": "*"}
				maps.Copy(in, at)
				maps.Copy(in, more)
				s.do(step, "AddLayerVersionPermission", in)
			}
			add("add_policy_s1", "s1", nil)
			one := s.do("get_layer_version_policy", "GetLayerVersionPolicy", at)
			add("add_policy_s2", "s2", m{"RevisionId": one["RevisionId"]})
			two := s.do("get_layer_version_policy_postadd2", "GetLayerVersionPolicy", at)
			s.do("remove_s2", "RemoveLayerVersionPermission", m{"LayerName": "testlayer", "VersionNumber": 1, "StatementId": "s2", "RevisionId": two["RevisionId"]})
			s.do("get_layer_version_policy_postdeletes2", "GetLayerVersionPolicy", at)
		},
		"TestLambdaLayer::test_layer_s3_content": func(s *session) {
			s.s3["bucket//layercontent.zip"] = padded(169)
			s.s3["bucket/layercontent.zip"] = padded(169)
			s.do("publish_layer_result", "PublishLayerVersion", m{"LayerName": "bucket-layer", "Content": m{"S3Bucket": "bucket", "S3Key": "/layercontent.zip"}})
		},
		"TestLambdaLayer::test_layer_function_quota_exception": func(s *session) {
			var arns []string
			for _, n := range strings.Split("123456", "") {
				arns = append(arns, s.layer("", "testlayer-"+n, nil)["LayerVersionArn"].(string))
			}
			s.fixture("create_function_with_six_layers", m{"Layers": arns})
		},
	}
	for _, id := range []string{"0", "1", "2"} {
		all["TestLambdaLayer::test_layer_compatibilities[runtimes"+id+"]"] = func(s *session) {
			made := s.recorded["publish_result"].(m)
			s.layer("publish_result", "testlayer", m{"CompatibleRuntimes": made["CompatibleRuntimes"], "CompatibleArchitectures": made["CompatibleArchitectures"]})
		}
	}
	return all
}

func layerExceptions(s *session) {
	name := "testlayer-1"
	s.layer("publish_result", name, nil)
	s.do("list_layers_exc_compatibleruntime_invalid", "ListLayers", m{"CompatibleRuntime": "runtimedoesnotexist"})
	s.do("list_layers_exc_compatiblearchitecture_invalid", "ListLayers", m{"CompatibleArchitecture": "archdoesnotexist"})
	s.do("list_nonexistent_layer", "ListLayerVersions", m{"LayerName": "layerdoesnotexist"})
	get := func(step, layer string, n int) {
		s.do(step, "GetLayerVersion", m{"LayerName": layer, "VersionNumber": n})
	}
	get("get_layer_version_exc_layer_doesnotexist", "layerdoesnotexist", 1)
	get("get_layer_version_exc_layer_version_doesnotexist_negative", name, -1)
	get("get_layer_version_exc_layer_version_doesnotexist_zero", name, 0)
	get("get_layer_version_exc_layer_version_doesnotexist_2", name, 2)
	arn := "arn:aws:lambda:us-east-1:" + account + ":layer:" + name
	s.do("get_layer_version_by_arn_exc_invalidarn", "GetLayerVersionByArn", m{"Arn": arn})
	s.do("get_layer_version_by_arn_exc_nonexistentversion", "GetLayerVersionByArn", m{"Arn": arn + ":2"})
	remove := func(step, layer string, n int) {
		s.do(step, "DeleteLayerVersion", m{"LayerName": layer, "VersionNumber": n})
	}
	remove("delete_nonexistent_response", "layerdoesnotexist", 1)
	remove("delete_nonexistent_version_response", name, 2)
	remove("delete_layer_response", name, 1)
	remove("delete_layer_again_response", name, 1)
	remove("delete_layer_version_exc_layerversion_invalid_version", name, -1)
	s.layer("publish_empty_result", "testlayer-empty", m{"CompatibleRuntimes": []string{}, "CompatibleArchitectures": []string{}})
	s.layer("publish_layer_version_exc_invalid_runtime_arch", "testlayer-2", m{"CompatibleRuntimes": []string{"invalidruntime"}, "CompatibleArchitectures": []string{"invalidarch"}})
	s.layer("publish_layer_version_exc_partially_invalid_values", "testlayer-2", m{
		"CompatibleRuntimes": []string{"invalidruntime", "invalidruntime2", "nodejs20.x"}, "CompatibleArchitectures": []string{"invalidarch", "x86_64"},
	})
}

func layerFunctionExceptions(s *session) {
	name := "testlayer-1"
	arn := "arn:aws:lambda:us-east-1:" + account + ":layer:" + name
	empty := m{"CompatibleRuntimes": []string{}}
	s.layer("publish_result", name, empty)
	s.layer("publish_result_2", name, empty)
	s.layer("publish_result_3", name, empty)
	s.fixture("", nil)
	s.do("get_fn_result", "GetFunction", m{"FunctionName": s.fn})
	use := func(step string, layers ...string) {
		s.do(step, "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Layers": layers})
	}
	use("two_layer_versions_single_function_exc", arn+":1", arn+":2")
	use("three_layer_versions_single_function_exc", arn+":1", arn+":2", arn+":3")
	use("two_identical_layer_versions_single_function_exc", arn+":1", arn+":1")
	use("add_nonexistent_layer_exc", strings.Replace(arn, name, "doesnotexist", 1)+":1")
	use("add_nonexistent_layer_version_exc", arn+":9")
	use("add_layer_arn_without_version_exc", arn)
	s.fixture("create_function_with_layer_in_different_region", m{"FunctionName": "other", "Layers": []string{strings.Replace(arn, "us-east-1", "eu-west-1", 1) + ":1"}})
}

func layerLifecycle(s *session) {
	s.fixture("", nil)
	s.do("get_fn_result", "GetFunction", m{"FunctionName": s.fn})
	s.do("get_fn_config_result", "GetFunctionConfiguration", m{"FunctionName": s.fn})
	more := m{"LicenseInfo": "licenseinfo-1", "Description": "description-1"}
	one := s.layer("publish_result", "testlayer-1", more)
	s.layer("publish_result_2", "testlayer-1", more)
	s.do("update_fn_config", "UpdateFunctionConfiguration", m{"FunctionName": s.fn, "Layers": []any{one["LayerVersionArn"]}})
	s.settle(s.fn)
	s.do("get_fn_config", "GetFunctionConfiguration", m{"FunctionName": s.fn})
	s.do("get_layer_ver_result", "GetLayerVersion", m{"LayerName": "testlayer-1", "VersionNumber": 1})
	s.do("get_layer_by_arn_version", "GetLayerVersionByArn", m{"Arn": one["LayerVersionArn"]})
	s.do("list_layer_versions_predelete", "ListLayerVersions", m{"LayerName": "testlayer-1"})
	s.do("delete_layer_1", "DeleteLayerVersion", m{"LayerName": "testlayer-1", "VersionNumber": 1})
	s.do("get_fn_config_postdelete", "GetFunctionConfiguration", m{"FunctionName": s.fn})
	s.do("delete_layer_2", "DeleteLayerVersion", m{"LayerName": "testlayer-1", "VersionNumber": 2})
	s.do("list_layer_versions_postdelete", "ListLayerVersions", m{"LayerName": "testlayer-1"})
	s.layer("publish_result_3", "testlayer-1", more)
}

func layerPolicyExceptions(s *session) {
	name := "layer4policy-1"
	s.layer("publish_result", name, nil)
	add := func(step, layer string, version int, more m) {
		in := m{"LayerName": layer, "VersionNumber": version, "StatementId": "s-9", "Action": "lambda:GetLayerVersion", "Principal": "*"}
		maps.Copy(in, more)
		s.do(step, "AddLayerVersionPermission", in)
	}
	get := func(step, layer string, version int) {
		s.do(step, "GetLayerVersionPolicy", m{"LayerName": layer, "VersionNumber": version})
	}
	remove := func(step, layer string, version int, more m) {
		in := m{"LayerName": layer, "VersionNumber": version, "StatementId": "s1"}
		maps.Copy(in, more)
		s.do(step, "RemoveLayerVersionPermission", in)
	}
	get("layer_permission_nopolicy_get", name, 1)
	add("add_layer_permission_result", name, 1, m{"StatementId": "s1"})
	add("layer_permission_action_invalid", name, 1, m{"Action": "*"})
	add("layer_permission_duplicate_statement", name, 1, m{"StatementId": "s1"})
	add("layer_permission_wrong_revision", name, 1, m{"StatementId": "s2", "RevisionId": "wrong"})
	none := name + "-doesnotexist"
	add("layer_permission_layername_doesnotexist_add", none, 1, nil)
	get("layer_permission_layername_doesnotexist_get", none, 1)
	remove("layer_permission_layername_doesnotexist_remove", none, 1, nil)
	add("layer_permission_layerversion_doesnotexist_add", name, 2, nil)
	get("layer_permission_layerversion_doesnotexist_get", name, 2)
	remove("layer_permission_layerversion_doesnotexist_remove", name, 2, nil)
	remove("layer_permission_statementid_doesnotexist_remove", name, 1, m{"StatementId": "doesnotexist"})
	remove("layer_permission_wrong_revision_remove", name, 1, m{"RevisionId": "wrong"})
}
