<?php throw new LogicException("broken at start");
