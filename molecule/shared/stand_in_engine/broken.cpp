bool part_3(const char * text) {
    return no_such_thing(text);
}
