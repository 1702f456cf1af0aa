<?php function handler() { return "nested"; }
