package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lambent.dev/lambent/test/harness"
)

// wordpressConfig is what an administrator writes.
const wordpressConfig = `<?php
define('DB_NAME', 'blog');
define('DB_USER', 'blog');
define('DB_PASSWORD', 'secret');
define('DB_HOST', '127.0.0.1');
define('DB_CHARSET', 'utf8mb4');
define('DISABLE_WP_CRON', true);
$table_prefix = 'wp_';
foreach (['AUTH_KEY', 'SECURE_AUTH_KEY', 'LOGGED_IN_KEY', 'NONCE_KEY', 'AUTH_SALT', 'SECURE_AUTH_SALT', 'LOGGED_IN_SALT', 'NONCE_SALT'] as $k) {
	define($k, 'a phrase for ' . $k);
}
if (!defined('ABSPATH')) {
	define('ABSPATH', __DIR__ . '/');
}
require_once ABSPATH . 'wp-settings.php';
`

// wordpressStart starts a database on the sandbox's own loopback, and the site.
const wordpressStart = `set -e
export HOME=/tmp
mariadb-install-db --no-defaults --datadir=/tmp/db --auth-root-authentication-method=normal --skip-test-db >/tmp/install.log 2>&1 || { cat /tmp/install.log; exit 1; }
cat >/tmp/init.sql <<EOF
CREATE DATABASE blog;
CREATE USER blog@'%' IDENTIFIED BY 'secret';
GRANT ALL ON blog.* TO blog@'%';
EOF
/usr/sbin/mariadbd --no-defaults --datadir=/tmp/db --socket=/tmp/db.sock --bind-address=127.0.0.1 --innodb-use-native-aio=0 --innodb-buffer-pool-size=64M --performance-schema=off --init-file=/tmp/init.sql 2>&1 &
for i in $(seq 300); do
  mariadb --no-defaults --host=127.0.0.1 -ublog -psecret blog -e 'SELECT 1' >/dev/null 2>&1 && break
  sleep 0.1
done
exec php -S 0.0.0.0:$PORT -t .
`

// TestWordPress deploys a stock WordPress with a database beside it, installs the
// blog in it, writes and reads a post. The distribution's package brings a web
// server with it, so that `make deps` installs it only when LAMBENT_TEST_WORDPRESS is
// set.
func TestWordPress(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a server")
	}
	for _, needed := range []string{"/usr/share/wordpress/index.php", "/usr/sbin/mariadbd", "/usr/bin/mariadb-install-db", "/usr/bin/php"} {
		if _, err := os.Stat(needed); err != nil {
			t.Skip(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "wordpress")
	// Debian's tree is of links into other packages.
	if out, err := exec.Command("cp", "-rL", "/usr/share/wordpress", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, text := range map[string]string{"wp-config.php": wordpressConfig, "start.sh": wordpressStart, "Procfile": "web: sh start.sh\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s := harness.Start(t, harness.Options{})
	publish(t, s, "blog", dir, "--memory", "1769", "--start-timeout", "90s", "--timeout", "120", "--min-instances", "1", "--health", "/wp-includes/version.php")
	site := "http://" + urlHost(t, s, "blog")
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := toGateway(t, s)
	c.Jar, c.Timeout = jar, 2*time.Minute
	defer func() {
		if t.Failed() {
			out, _, _ := s.CLI("", "logs", "blog")
			t.Logf("log:\n%s", out)
		}
	}()

	// The first request leads to the installation.
	if got := ask(t, c, newRequest(t, "GET", site+"/", "")); got.status != 200 || !strings.Contains(got.body, "WordPress &rsaquo; Installation") {
		t.Fatalf("the first page: %d %.500s", got.status, got.body)
	}
	post := func(path string, form url.Values) reply {
		r := newRequest(t, "POST", site+path, form.Encode())
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return ask(t, c, r)
	}
	const password = "Correct-Horse-7"
	if got := post("/wp-admin/install.php?step=2", url.Values{"weblog_title": {"Ours"}, "user_name": {"admin"}, "admin_password": {password}, "admin_password2": {password},
		"pw_weak": {"1"}, "admin_email": {"admin@example.com"}, "blog_public": {"0"}, "language": {""}}); !strings.Contains(got.body, "Success!") {
		t.Fatalf("installed: %d %.2000s", got.status, got.body)
	}
	if got := ask(t, c, newRequest(t, "GET", site+"/", "")); got.status != 200 || !strings.Contains(got.body, "Hello world!") {
		t.Errorf("the blog: %d %.500s", got.status, got.body)
	}

	// Whoever logs in can write, and everybody read.
	ask(t, c, newRequest(t, "GET", site+"/wp-login.php", "")) // for a cookie
	login := post("/wp-login.php", url.Values{"log": {"admin"}, "pwd": {password}, "wp-submit": {"Log In"}, "testcookie": {"1"}, "redirect_to": {site + "/wp-admin/"}})
	if login.status != 200 || !strings.Contains(login.body, "Dashboard") {
		t.Fatalf("logged in: %d %.1000s", login.status, login.body)
	}
	nonce := ask(t, c, newRequest(t, "GET", site+"/wp-admin/admin-ajax.php?action=rest-nonce", "")).body
	r := newRequest(t, "POST", site+"/index.php?rest_route=/wp/v2/posts", `{"title":"From a test","content":"A post of many words","status":"publish"}`)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-WP-Nonce", nonce)
	made := ask(t, c, r)
	var written struct{ ID int }
	if err := json.Unmarshal([]byte(made.body), &written); err != nil || made.status != http.StatusCreated {
		t.Fatalf("wrote: %d %.500s, %v", made.status, made.body, err)
	}
	c.Jar = nil
	if got := ask(t, c, newRequest(t, "GET", fmt.Sprintf("%s/?p=%d", site, written.ID), "")); got.status != 200 || !strings.Contains(got.body, "A post of many words") {
		t.Errorf("the post: %d %.500s", got.status, got.body)
	}
	res, err := c.Get(site + "/wp-includes/js/jquery/jquery.min.js")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if b, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || len(b) < 50_000 {
		t.Errorf("a file: %d, %d bytes, %v", res.StatusCode, len(b), err)
	}
}
