<?php require "no_such_file.php";
