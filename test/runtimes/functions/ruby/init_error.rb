raise 'broken at start'
