<?php return fn (array $event) => ["closure" => $event];
