<?php
// For PHP's own web server, which takes a path with a dot for a file and answers 404 if
// there is none: index.php gets such a path, too, as by nginx's
// "try_files $uri $uri/ /index.php". It is included here, where variables are global.
if (!str_contains(basename(explode('?', $_SERVER['REQUEST_URI'], 2)[0]), '.')
    || is_file($_SERVER['DOCUMENT_ROOT'] . rawurldecode(explode('?', $_SERVER['REQUEST_URI'], 2)[0]))
    || !is_file($_SERVER['DOCUMENT_ROOT'] . '/index.php')) {
    return false;
}
$_SERVER['SCRIPT_NAME'] = $_SERVER['PHP_SELF'] = '/index.php';
$_SERVER['SCRIPT_FILENAME'] = $_SERVER['DOCUMENT_ROOT'] . '/index.php';
chdir($_SERVER['DOCUMENT_ROOT']);
require $_SERVER['SCRIPT_FILENAME'];
