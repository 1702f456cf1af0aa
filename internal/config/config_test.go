package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lambent.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadOrder(t *testing.T) {
	file := write(t, "listen: 127.0.0.1:1\ngateway: 127.0.0.1:2\ninstances:\n  idle: 1m\n  memory: 2GiB\nsandbox: {outbound: false}\n")
	c, err := Load(Options{
		File:    file,
		Environ: []string{"LAMBENT_GATEWAY=127.0.0.1:3", "LAMBENT_INSTANCES_IDLE=2m", "LAMBENT_RUNTIMES_SEARCH=/a, /b", "LAMBENT_TEST_X=1", "HOME=/h"},
		Flags:   map[string]string{"instances.idle": "3m", "data": "/d"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Data, want.Listen, want.Gateway = "/d", "127.0.0.1:1", "127.0.0.1:3"
	want.Instances.Idle, want.Instances.Memory = 3*time.Minute, 2<<30
	want.Sandbox.Outbound = false
	want.Runtimes.Search = []string{"/a", "/b"}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestColdStartSettings(t *testing.T) {
	c, err := Load(Options{
		File: write(t, "instances:\n  reserve: 0\n  hibernate: {init: 0s}\n  prediction: {graph: false}\nartifacts: {cache: 0}\n"),
		Environ: []string{
			"LAMBENT_INSTANCES_PREDICTION_CRON=false", "LAMBENT_INSTANCES_HIBERNATE_AFTER=0s",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	i := c.Instances
	if i.Reserve != 0 || i.Hibernate.Init != 0 || c.Artifacts.Cache != 0 || i.Prediction != (Prediction{Alias: true, Histogram: true}) {
		t.Errorf("got %+v", c)
	}
}

func TestSharedVariablesOfTraces(t *testing.T) {
	const own, all = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=", "OTEL_EXPORTER_OTLP_ENDPOINT="
	for name, tt := range map[string]struct {
		env  []string
		want Traces
	}{
		"none":     {nil, Traces{"http://file", "lambent", 0.5}},
		"empty":    {[]string{own, all, "OTEL_SERVICE_NAME="}, Traces{"http://file", "lambent", 0.5}},
		"all":      {[]string{all + "http://h:4318"}, Traces{"http://h:4318/v1/traces", "lambent", 0.5}},
		"all path": {[]string{all + "http://h/otlp/"}, Traces{"http://h/otlp/v1/traces", "lambent", 0.5}},
		"own":      {[]string{all + "http://h:4318", own + "http://t/x"}, Traces{"http://t/x", "lambent", 0.5}},
		"own root": {[]string{own + "http://t"}, Traces{"http://t/", "lambent", 0.5}},
		"service":  {[]string{"OTEL_SERVICE_NAME=s"}, Traces{"http://file", "s", 0.5}},
		"disabled": {[]string{all + "http://h", "OTEL_SDK_DISABLED=TRUE"}, Traces{"http://file", "lambent", 0.5}},
		"ours":     {[]string{all + "http://h", "LAMBENT_TRACES_ENDPOINT=", "LAMBENT_TRACES_SAMPLE=0.25"}, Traces{"", "lambent", 0.25}},
	} {
		c, err := Load(Options{File: write(t, "traces: {endpoint: \"http://file\", sample: 0.5}\n"), Environ: append(tt.env, "HOME=/h")})
		if err != nil || c.Traces != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", name, c.Traces, err, tt.want)
		}
	}
}

func TestLoadJSON(t *testing.T) {
	c, err := Load(Options{File: write(t, `{"logs": {"max_age": "24h", "max_bytes": 5000000}, "s3": [{"bucket": "*", "endpoint": "http://127.0.0.1:9", "path_style": true}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	if c.Logs.MaxAge != 24*time.Hour || c.Logs.MaxBytes != 5_000_000 || len(c.S3) != 1 || !c.S3[0].PathStyle {
		t.Errorf("got %+v", c)
	}
}

func TestLoadDefaultsFitTheHost(t *testing.T) {
	c, err := Load(Options{Environ: []string{"HOME=/home/u", "XDG_DATA_HOME=/x"}})
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(c.Data) || c.Instances.Memory < 128<<20 {
		t.Errorf("data %q, memory %d", c.Data, c.Instances.Memory)
	}
}

func TestDataDir(t *testing.T) {
	for _, tt := range []struct {
		uid  int
		env  map[string]string
		want string
	}{
		{0, nil, "/var/lib/lambent"},
		{1000, map[string]string{"XDG_DATA_HOME": "/x", "HOME": "/h"}, "/x/lambent"},
		{1000, map[string]string{"XDG_DATA_HOME": "rel", "HOME": "/h"}, "/h/.local/share/lambent"},
		{1000, nil, ""},
	} {
		if got := DataDir(tt.uid, func(k string) string { return tt.env[k] }); got != tt.want {
			t.Errorf("DataDir(%d, %v) = %q, want %q", tt.uid, tt.env, got, tt.want)
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		file string
		o    Options
		want string
	}{
		"unknown key":        {file: "listen: 127.0.0.1:1\nlisten_on: x\n", want: "lambent.yaml:2: unknown field \"listen_on\""},
		"unknown nested key": {file: "log:\n  level: info\n  colour: red\n", want: "lambent.yaml:3: "},
		"repeated key":       {file: "region: a\nregion: b\n", want: "lambent.yaml:2: "},
		"wrong type":         {file: "instances:\n  concurrency: many\n", want: "lambent.yaml:2: "},
		"bad size":           {file: "logs: {max_bytes: 5 potatoes}\n", want: "5 potatoes"},
		"bad duration":       {file: "logs: {max_age: 5x}\n", want: "5x"},
		"not yaml":           {file: "a: [1,\n", want: "lambent.yaml:"},
		"unknown variable":   {o: Options{Environ: []string{"LAMBENT_LISTN=x"}}, want: "environment variable LAMBENT_LISTN"},
		"bad variable":       {o: Options{Environ: []string{"LAMBENT_INSTANCES_IDLE=soon"}}, want: "LAMBENT_INSTANCES_IDLE: "},
		"unknown flag":       {o: Options{Flags: map[string]string{"nope": ""}}, want: `unknown setting "nope"`},
		"no such file":       {o: Options{File: "/no/such/file"}, want: "no such file"},
		"address":            {o: Options{Flags: map[string]string{"listen": "9000"}}, want: `listen: "9000" is not host:port`},
		"port":               {o: Options{Flags: map[string]string{"listen": "127.0.0.1:99999"}}, want: "listen: port"},
		"traces address":     {o: Options{Environ: []string{"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4317"}}, want: "traces.endpoint: "},
		"traces share":       {o: Options{Environ: []string{"LAMBENT_TRACES_SAMPLE=NaN"}}, want: "traces.sample: NaN"},
		"same address":       {o: Options{Flags: map[string]string{"listen": "127.0.0.1:80", "gateway": "127.0.0.1:80"}}, want: "must differ"},
		"account":            {o: Options{Flags: map[string]string{"account": "12"}}, want: "account: "},
		"pool not private":   {o: Options{Flags: map[string]string{"sandbox.network_pool": "8.8.0.0/16"}}, want: "sandbox.network_pool: "},
		"pool not masked":    {o: Options{Flags: map[string]string{"sandbox.network_pool": "10.0.0.1/16"}}, want: "sandbox.network_pool: "},
		"cgroup outside":     {o: Options{Flags: map[string]string{"sandbox.cgroup_root": "../x"}}, want: "sandbox.cgroup_root: "},
		"tiny reserve":       {o: Options{Flags: map[string]string{"instances.reserve": "5kB"}}, want: "instances.reserve: 5kB is less than 1MiB"},
		"hibernate at once":  {o: Options{Flags: map[string]string{"instances.hibernate.after": "1ms"}}, want: "instances.hibernate.after: "},
		"hibernate shortly":  {o: Options{Flags: map[string]string{"instances.hibernate.keep": "1s"}}, want: "instances.hibernate.keep: "},
		"bad switch":         {o: Options{Environ: []string{"LAMBENT_INSTANCES_PREDICTION_GRAPH=maybe"}}, want: "LAMBENT_INSTANCES_PREDICTION_GRAPH: "},
		"small cache":        {o: Options{Flags: map[string]string{"artifacts.cache": "1MB"}}, want: "artifacts.cache: "},
		"s3 half a key":      {o: Options{Environ: []string{`LAMBENT_S3=[{bucket: b, access_key: k}]`}}, want: "go together"},
		"s3 twice":           {o: Options{Environ: []string{`LAMBENT_S3=[{bucket: b}, {bucket: b}]`}}, want: "has an entry already"},
		"several":            {o: Options{Flags: map[string]string{"account": "1", "region": "!"}}, want: "; account: "},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.file != "" {
				tt.o.File = write(t, tt.file)
			}
			_, err := Load(tt.o)
			if err == nil {
				t.Fatal("accepted")
			}
			if lambent.CodeOf(err) != lambent.CodeInvalid || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s %q, want one line with %q", lambent.CodeOf(err), err, tt.want)
			}
		})
	}
}

func TestPrintHidesSecretsAndReadsBack(t *testing.T) {
	c := Default()
	c.Data, c.Instances.Memory = "/d", 1<<30
	c.S3 = []S3{{Bucket: "b", AccessKey: "AK", SecretKey: "hunter2"}}
	c.Registries = []Registry{{Host: "r", Username: "u", Password: "hunter2"}}
	text, err := c.Print()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hunter2") || strings.Contains(fmt.Sprintf("%v %+v %#v", c, c, c), "hunter2") {
		t.Fatalf("the secret shows in\n%s", text)
	}
	back, err := Load(Options{File: write(t, string(text))})
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	c.S3[0].SecretKey, back.S3[0].SecretKey = "", ""
	c.Registries[0].Password, back.Registries[0].Password = "", ""
	if len(back.Runtimes.Search) == 0 {
		back.Runtimes.Search = nil
	}
	if !reflect.DeepEqual(back, c) {
		t.Errorf("got  %+v\nwant %+v", back, c)
	}
}

func TestPrintExplains(t *testing.T) {
	c := Default()
	c.Data, c.Instances.Memory = "/d", 1<<30
	text, err := c.Print()
	if err != nil {
		t.Fatal(err)
	}
	walk("", reflect.ValueOf(&c).Elem(), func(key string, f reflect.StructField, _ reflect.Value) {
		doc := f.Tag.Get("doc")
		if doc == "" || !strings.Contains(string(text), "# "+doc+"\n") {
			t.Errorf("%s is not explained by %q", key, doc)
		}
	})
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "1": 1, "512MiB": 512 << 20, "512 mib": 512 << 20, "10GB": 1e10, "1.5kB": 1500, "7B": 7, "9223372036854775807": 1<<63 - 1} {
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v, want %d", text, got, err, want)
		}
		if back, err := ParseSize(got.String()); err != nil || back != got {
			t.Errorf("%d prints as %q", got, got)
		}
	}
	for _, text := range []string{"", "B", "-1", "NaN", "1e400", "9223372036854775807kB", "Inf", "1XB", "99999999999TB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("ParseSize(%q) = %d", text, got)
		}
	}
}

func TestStoreURLIsSecret(t *testing.T) {
	c, err := Load(Options{Environ: []string{"HOME=/h", "LAMBENT_STORE_URL=postgres://user:hunter2@db/lambent"}})
	if err != nil || c.Store.URL != "postgres://user:hunter2@db/lambent" {
		t.Fatalf("the URL is %q, %v", string(c.Store.URL), err)
	}
	text, err := c.Print()
	if err != nil || strings.Contains(string(text), "hunter2") {
		t.Errorf("printed: %s, %v", text, err)
	}
	for _, bad := range []string{"mysql://user:hunter2@db", "postgres://user:hunter2@%zz"} {
		_, err := Load(Options{Environ: []string{"HOME=/h"}, Flags: map[string]string{"store.url": bad}})
		if err == nil || !strings.Contains(err.Error(), "store.url") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
